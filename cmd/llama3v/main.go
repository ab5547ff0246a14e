// Command llama3v looks at pictures and answers on the command line.
//
//	llama3v run MODEL PICTURE... -p TEXT      describe pictures
//	llama3v embed MODEL PICTURE... -o FILE    features of pictures and texts to safetensors
//	llama3v classify MODEL PICTURE... --labels A,B
//	                                          probability of each label for each picture
//	llama3v pull hf:ORG/NAME                  a model's files into the shared cache
//	llama3v quantize IN OUT --type T     a model with its weights in another type
//	llama3v inspect MODEL                     tensors, types, config, memory plan
//	llama3v tokenize MODEL TEXT               ids of a text, or of a chat prompt
//	llama3v doctor                            processor, libraries, self-test
//	llama3v parity MODEL --backends A,B       two backends against each other
//	llama3v bench ops|model                   speed beside its bound
//	llama3v backend build|install|list        backend libraries
//
// A relative folder in LLAMA3V_LIB_DIR is taken from the working directory; programs over the library
// refuse one.
//
// It exits with 0, with 1 after a failure, and with 2 when the command line makes no sense.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v/binding"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the process at once
	if err := absoluteLibDir(); err != nil {
		fmt.Fprintf(os.Stderr, "llama3v: %v\n", err)
		os.Exit(1)
	}
	os.Exit(execute(ctx, os.Args[1:]))
}

// absoluteLibDir lets whoever types a command name a folder below the one they are in. The library
// itself takes none, as a service's working directory is nobody's choice.
func absoluteLibDir() error {
	dir := os.Getenv(binding.LibDirVariable)
	if dir == "" {
		return nil
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	return os.Setenv(binding.LibDirVariable, path)
}

// errUsage is behind every error about the command line itself.
var errUsage = errors.New("usage")

type usageError struct{ text string }

func (e usageError) Error() string        { return e.text }
func (e usageError) Is(target error) bool { return target == errUsage }

func usage(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// execute runs the command line and gives the exit code.
func execute(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	// An error is one sentence; what is joined to it follows on the same line.
	fmt.Fprintf(os.Stderr, "llama3v: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	if errors.Is(err, errUsage) {
		fmt.Fprintf(os.Stderr, "Try '%s --help'.\n", command.CommandPath())
		return 2
	}
	return 1
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "llama3v",
		Short:         "Look at pictures and answer, in one process",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%v", err) })
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newRun(), newEmbed(), newClassify(), newPull(), newQuantize(), newInspect(), newTokenize(), newDoctor(), newParity(), newBench(), newBackend())
	return root
}

// atLeast checks the number of arguments.
func atLeast(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < n {
			return usage("%s", what)
		}
		return nil
	}
}
