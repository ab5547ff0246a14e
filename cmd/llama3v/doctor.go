package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/selftest"
)

// libraryJSON is one place where a backend was looked for.
type libraryJSON struct {
	Backend  string `json:"backend"`
	Place    string `json:"place"`
	Path     string `json:"path"`
	Found    bool   `json:"found"`
	Problem  string `json:"problem,omitempty"`
	Hash     string `json:"hash,omitempty"`
	ABI      string `json:"abi,omitempty"`
	Device   string `json:"device,omitempty"`
	Emulated bool   `json:"emulated,omitempty"`
}

type doctorJSON struct {
	System    string        `json:"system"`
	Libraries []libraryJSON `json:"libraries"`
	Ops       []opJSON      `json:"ops"`
	Command   string        `json:"build_command,omitempty"` // when nothing was found
}

type opJSON struct {
	Backend string  `json:"backend"`
	Op      string  `json:"op"`
	NMSE    float64 `json:"nmse"`
	Bound   float64 `json:"bound"`
	OK      bool    `json:"ok"`
	Problem string  `json:"problem,omitempty"`
}

func newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Show the processor, the libraries found, and test each op against float64",
		Args:  exactly(0, "doctor takes no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			report := doctorJSON{System: runtime.GOOS + "/" + runtime.GOARCH, Libraries: findAll()}
			failed, found := 0, 0
			for _, library := range report.Libraries {
				if !library.Found {
					continue
				}
				found++
				results, err := testLibrary(library)
				if err != nil {
					return err
				}
				for _, r := range results {
					if !r.OK {
						failed++
					}
				}
				report.Ops = append(report.Ops, results...)
			}
			if found == 0 {
				report.Command = binding.BuildCommand("cpu")
			}
			if err := report.print(cmd.OutOrStdout(), asJSON); err != nil {
				return err
			}
			switch {
			case found == 0:
				return fmt.Errorf("%w: build one with: %s", binding.ErrNoLibrary, report.Command)
			case failed > 0:
				return fmt.Errorf("%d ops differ from their float64 reference by more than their bound", failed)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// findAll looks for each backend in every place, and says what is there.
func findAll() []libraryJSON {
	list := []libraryJSON{}
	for _, backend := range binding.Backends {
		library, tried, _ := binding.Find(backend, "")
		for _, c := range tried {
			row := libraryJSON{Backend: c.Backend, Place: c.Place, Path: c.Path}
			if c.Err != nil {
				row.Problem = c.Err.Error()
			} else if library != nil {
				caps := library.Capabilities()
				row.Found, row.Path, row.Hash, row.ABI = true, library.Path(), library.Hash(), library.ABI().String()
				row.Device, row.Emulated = caps.Device, caps.Emulated
			}
			list = append(list, row)
		}
	}
	return list
}

func testLibrary(l libraryJSON) ([]opJSON, error) {
	library, err := binding.Open(l.Path)
	if err != nil {
		return nil, err
	}
	context, err := library.NewContext(binding.ContextOptions{})
	if err != nil {
		return nil, err
	}
	device := ops.NewDevice(context, library.Capabilities())
	defer device.Close()
	var list []opJSON
	for _, r := range selftest.Run(device) {
		row := opJSON{Backend: l.Backend, Op: r.Op, NMSE: r.NMSE, Bound: r.Bound, OK: r.Err == nil && r.NMSE <= r.Bound}
		if r.Err != nil {
			row.Problem = r.Err.Error()
		}
		list = append(list, row)
	}
	return list, nil
}

func (r doctorJSON) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(r)
	}
	fmt.Fprintf(out, "system     %s\n", r.System)
	if err := printLibraries(out, r.Libraries); err != nil {
		return err
	}
	for _, op := range r.Ops {
		verdict := "ok"
		if !op.OK {
			verdict = "FAILS"
		}
		if _, err := fmt.Fprintf(out, "%-6s %-28s %-5s %.1e (bound %.0e) %s\n", op.Backend, op.Op, verdict, op.NMSE, op.Bound, op.Problem); err != nil {
			return err
		}
	}
	return nil
}

func printLibraries(out io.Writer, list []libraryJSON) error {
	for _, l := range list {
		var err error
		if l.Found {
			emulated := ""
			if l.Emulated {
				emulated = " (emulated)"
			}
			_, err = fmt.Fprintf(out, "%-6s found in %s: %s\n       %s%s, interface %s, sha256 %s\n", l.Backend, l.Place, l.Path, l.Device, emulated, l.ABI, l.Hash)
		} else {
			_, err = fmt.Fprintf(out, "%-6s not in %s: %s\n", l.Backend, l.Place, l.Problem)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
