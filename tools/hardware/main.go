// Command hardware runs on a machine with a card what CI runs on the emulator, and measures: the op
// conformance suite, the golden models, the demo's answers, parity with the CPU, and the benchmarks. It
// writes one record of it, JSON and Markdown, into docs/hardware.
//
//	hardware [-bin DIR] [-lib DIR] [-only NAME,...] test|bench...
//
// It runs in the repository's root and needs neither network nor Go: -bin has what `make hardware`
// built, a `go test -c` binary of each package and the command line; -lib the libraries. Results go
// into the record as they come, so that a run cut short leaves what it has, and a second run of the day
// adds to it. On an emulated library it goes through every step with a small part of it, and the
// record, which says so, stays in the folder of the binaries.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/llama3v/llama3v/binding"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "hardware: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("hardware", flag.ContinueOnError)
	bin := flags.String("bin", "build/hardware", "folder of the test binaries and of llama3v")
	lib := flags.String("lib", "", "folder of the libraries (default: LLAMA3V_LIB_DIR, else build/lib)")
	only := flags.String("only", "", "steps to run, by name, separated by commas (default: all)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	groups := flags.Args()
	for _, group := range groups {
		if group != groupTest && group != groupBench {
			return fmt.Errorf("%q is neither %s nor %s", group, groupTest, groupBench)
		}
	}
	if len(groups) == 0 {
		return fmt.Errorf("say what to run: %s, %s, or both", groupTest, groupBench)
	}
	library, err := findLibrary(*lib)
	if err != nil {
		return err
	}
	caps := library.Capabilities()
	folder := filepath.Join("docs", "hardware")
	if caps.Emulated {
		folder = *bin
		fmt.Println("This is the emulator, not a card: every step runs, with a small part of it.")
	}
	r, err := openRecord(folder, newRecord(library))
	if err != nil {
		return err
	}
	failed := 0
	for _, s := range steps {
		if !slices.Contains(groups, s.group) || *only != "" && !slices.Contains(strings.Split(*only, ","), s.name) {
			continue
		}
		args, leftOut := s.args, ""
		if caps.Emulated {
			if args, leftOut = s.emulated, s.leftOut; args == nil {
				r.add(Result{Name: s.name, Group: s.group, LeftOut: leftOut})
				continue
			}
		}
		fmt.Printf("%s: %s %s\n", s.name, s.binary, strings.Join(args, " "))
		result := s.run(ctx, *bin, args)
		result.LeftOut = leftOut
		fmt.Printf("%s: %s\n", s.name, result.verdict())
		if !result.OK {
			failed++
			fmt.Println(result.Output)
		}
		r.add(result)
		if err := r.write(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := r.write(); err != nil {
		return err
	}
	fmt.Printf("record: %s\n", r.path(".md"))
	if failed > 0 {
		return fmt.Errorf("%d steps failed", failed)
	}
	return nil
}

// findLibrary opens the CUDA library, which asks for its card, and has every step use its folder.
func findLibrary(dir string) (*binding.Library, error) {
	if dir == "" {
		if dir = os.Getenv(binding.LibDirVariable); dir == "" {
			dir = filepath.Join("build", "lib")
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.Setenv(binding.LibDirVariable, dir); err != nil {
		return nil, err
	}
	library, _, err := binding.Find("cuda", dir)
	if errors.Is(err, binding.ErrNoLibrary) || errors.Is(err, binding.ErrUnsupported) {
		return nil, fmt.Errorf("there is no card to run on here, or no library for one: %w; make cuda builds the library", err)
	}
	return library, err
}

func newRecord(l *binding.Library) Record {
	caps := l.Capabilities()
	r := Record{Card: caps.Device, Emulated: caps.Emulated, Multiprocessors: caps.Cores, Memory: caps.MemoryTotal,
		Library: l.Hash(), ABI: l.ABI().String(), Date: time.Now().UTC().Format(time.DateOnly),
		Driver: output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				r.Commit = s.Value
			}
			if s.Key == "vcs.modified" && s.Value == "true" {
				r.Commit += ", modified"
			}
		}
	}
	if r.Commit == "" {
		r.Commit = output("git", "rev-parse", "HEAD")
	}
	return r
}

// output is the first line that a command prints, "" where it cannot run.
func output(command string, args ...string) string {
	out, err := exec.Command(command, args...).Output()
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(first)
}
