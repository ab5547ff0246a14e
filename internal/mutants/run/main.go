//go:build linux

// Command run builds the CUDA kernels with all their mutants over the emulator, runs each mutant
// against small cases of every op, and fails when one survives that csrc/cuda/mutants.txt does not
// allow, or when that list allows one that does not survive.
//
//	go run ./internal/mutants/run [-build build/mutants] [-only softmax.cu]
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/llama3v/llama3v/internal/mutants"
)

// A mutant that does not end is killed. Without one, all cases together take less.
const limit = 60 * time.Second

var (
	root    = flag.String("root", ".", "the repository")
	build   = flag.String("build", "build/mutants", "where to build, below root")
	only    = flag.String("only", "", "mutants of this file alone")
	verbose = flag.Bool("v", false, "print each mutant's end")
	jobs    = flag.Int("j", runtime.NumCPU(), "processes at a time")
	// For the processes that this one starts.
	measure = flag.Bool("measure", false, "run all cases without a mutant and print what they reach")
	try     = flag.String("try", "", "cases to run with mutants that come by standard input")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run() error {
	var err error
	if *root, err = filepath.Abs(*root); err != nil {
		return err
	}
	if !filepath.IsAbs(*build) {
		*build = filepath.Join(*root, *build)
	}
	library := filepath.Join(*build, "build/lib/libllama3v-cuda.so")
	switch {
	case *measure:
		return measureCases(library)
	case *try != "":
		return tryMutant(library, *try)
	}
	list, err := os.ReadFile(filepath.Join(*root, "csrc/cuda/mutants.txt"))
	if err != nil {
		return err
	}
	exceptions, err := mutants.ParseExceptions(string(list))
	if err != nil {
		return fmt.Errorf("mutants.txt: %w", err)
	}
	begin := time.Now()
	all, err := mutants.Write(*root, *build)
	if err != nil {
		return err
	}
	last := len(all)
	if err := compile(); err != nil {
		return err
	}
	built := time.Since(begin)
	configurations, err := measured()
	if err != nil {
		return err
	}
	runs, none := plan(configurations)
	all = slices.DeleteFunc(all, func(m mutants.Mutant) bool {
		return none[m.Number] && len(runs[m.Number]) == 0 || *only != "" && m.File != *only
	})
	untried := map[string]int{}
	all = slices.DeleteFunc(all, func(m mutants.Mutant) bool {
		skip := slices.ContainsFunc(exceptions, func(e *mutants.Exception) bool { return e.Untried() && e.File == m.File })
		if skip {
			untried[m.File]++
		}
		return skip
	})
	for _, file := range slices.Sorted(maps.Keys(untried)) {
		fmt.Printf("%-20s %4d mutants, none tried\n", file, untried[file])
	}
	measuring := time.Since(begin) - built

	outcomes := make([]outcome, last+1)
	var group errgroup.Group
	group.SetLimit(*jobs)
	for _, m := range all {
		if len(runs[m.Number]) == 0 {
			continue
		}
		group.Go(func() error {
			begin := time.Now()
			o, err := start(m, runs[m.Number])
			if *verbose {
				fmt.Printf("%6.2f s, %d cases, %s: %s\n    %s\n", time.Since(begin).Seconds(), len(runs[m.Number]), cmp.Or(o.check, "survives"), m, o.text)
			}
			outcomes[m.Number] = o
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return report(all, runs, outcomes, exceptions, fmt.Sprintf("%.0f s to build, %.0f s to measure %d cases, %.0f s in all",
		built.Seconds(), measuring.Seconds(), len(configurations), time.Since(begin).Seconds()))
}

// compile builds the library of all mutants.
func compile() error {
	configure := []string{"-S", *build, "-B", filepath.Join(*build, "build"), "-DL3V_EMULATE=ON"}
	if _, err := exec.LookPath("ninja"); err == nil {
		configure = append(configure, "-G", "Ninja")
	}
	for _, arguments := range [][]string{configure, {"--build", filepath.Join(*build, "build"), "--target", "llama3v-cuda", "-j", strconv.Itoa(*jobs)}} {
		if out, err := exec.Command("cmake", arguments...).CombinedOutput(); err != nil {
			return fmt.Errorf("cmake: %w\n%s", err, out)
		}
	}
	return nil
}

// configuration is a case with a set of kernels.
type configuration struct {
	Case    int
	Kernels string
	Name    string
	Seconds float64
	Asked   []int // mutants whose place it reaches
	None    []int // what turned out to be none: a +1 of a float
}

func (c configuration) id() string { return strconv.Itoa(c.Case) + "/" + c.Kernels }

// measured runs the cases without a mutant, in a process of its own.
func measured() ([]configuration, error) {
	out, err := again("-measure").Output()
	if err != nil {
		return nil, failed(err)
	}
	var list []configuration
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, err
	}
	return list, nil
}

func failed(err error) error {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return err
}

func again(arguments ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return exec.Command(self, append([]string{"-root", *root, "-build", *build}, arguments...)...)
}

// plan gives for each mutant the configurations that reach it, the quickest first.
func plan(list []configuration) (runs map[int][]string, none map[int]bool) {
	slices.SortStableFunc(list, func(a, b configuration) int { return cmp.Compare(a.Seconds, b.Seconds) })
	runs, none = map[int][]string{}, map[int]bool{}
	for _, c := range list {
		for _, n := range c.None {
			none[n] = true
		}
		for _, n := range c.Asked {
			runs[n] = append(runs[n], c.id())
		}
	}
	return runs, none
}

// outcome is what became of a mutant: the check that caught it, or "".
type outcome struct{ check, text string }

// start runs a mutant in a process of its own, which may crash or hang.
func start(m mutants.Mutant, cases []string) (outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	command := again("-try", strings.Join(cases, ","))
	command = exec.CommandContext(ctx, command.Path, command.Args[1:]...)
	command.Stdin = strings.NewReader(strconv.Itoa(m.Number))
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	err := command.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return outcome{"time limit", limit.String()}, nil
	case err == nil && out.Len() == 0:
		return outcome{}, nil
	case err == nil:
		return outcome{checkOf(out.String()), out.String()}, nil
	case errors.As(err, &exit) && !strings.HasPrefix(errs.String(), "mutants: "):
		return outcome{"crash", strings.SplitN(errs.String(), "\n", 2)[0]}, nil
	}
	return outcome{}, fmt.Errorf("%s: %w: %s", m, err, errs.Bytes())
}

var checks = []string{"race", "uninitialised", "bounds", "alignment", "divergence", "deadlock", "wrong value"}

func checkOf(text string) string {
	for _, check := range checks {
		if strings.Contains(text, check+":") {
			return check
		}
	}
	if strings.Contains(text, "bad value on device") {
		return "fault"
	}
	return "another check"
}

func report(all []mutants.Mutant, runs map[int][]string, outcomes []outcome, exceptions []*mutants.Exception, times string) error {
	var survivors []mutants.Mutant
	never := map[int]bool{}
	caught, perFile, perCheck := 0, map[string][2]int{}, map[string]int{}
	for _, m := range all {
		n := perFile[m.File]
		n[0]++
		if o := outcomes[m.Number]; o.check != "" {
			caught++
			perCheck[o.check]++
			n[1]++
		} else {
			never[m.Number] = len(runs[m.Number]) == 0
			survivors = append(survivors, m)
		}
		perFile[m.File] = n
	}
	allowed, rest, stale := mutants.Excuse(survivors, exceptions)
	for _, file := range slices.Sorted(maps.Keys(perFile)) {
		fmt.Printf("%-20s %4d mutants, %4d caught\n", file, perFile[file][0], perFile[file][1])
	}
	var by []string
	for _, check := range slices.SortedFunc(maps.Keys(perCheck), func(a, b string) int { return perCheck[b] - perCheck[a] }) {
		by = append(by, fmt.Sprintf("%s %d", check, perCheck[check]))
	}
	fmt.Printf("%d mutants: %d caught (%s), %d allowed to survive, %d not; %s\n",
		caught+len(survivors), caught, strings.Join(by, ", "), len(allowed), len(rest), times)
	for _, m := range rest {
		how := "survives"
		if never[m.Number] {
			how = "is reached by no case"
		}
		fmt.Printf("%s: %s\n", how, m)
	}
	if *only != "" {
		stale = slices.DeleteFunc(stale, func(e *mutants.Exception) bool { return e.File != *only })
	}
	for _, e := range stale {
		fmt.Printf("mutants.txt allows what does not survive: %s\n", e)
	}
	if len(rest)+len(stale) > 0 {
		return fmt.Errorf("%d survive, %d entries of mutants.txt allow too much", len(rest), len(stale))
	}
	return nil
}
