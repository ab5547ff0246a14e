package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v/binding"
)

func newBackend() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backend",
		Short: "Build, install and list backend libraries",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q for backend", args[0])
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error { return usage("backend wants build, install or list") },
	}
	cmd.AddCommand(newBackendBuild(), newBackendInstall(), newBackendList())
	return cmd
}

func newBackendBuild() *cobra.Command {
	o := binding.BuildOptions{Output: os.Stderr}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "build NAME",
		Short: "Compile a backend from the sources in this program into the user's cache",
		Args:  exactly(1, "backend build wants a name: cpu or cuda"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := binding.BuildBackend(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			return printPath(cmd, path, asJSON)
		},
	}
	cmd.Flags().BoolVar(&o.Force, "force", false, "build although the library is there")
	cmd.Flags().StringVar(&o.NVCC, "nvcc", "", "CUDA compiler of the cuda backend (default: $NVCC, then nvcc on the path)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func newBackendInstall() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "install NAME FILE",
		Short: "Copy a library built elsewhere into the user's cache",
		Args:  exactly(2, "backend install wants a name and a library file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := binding.InstallBackend(args[0], args[1])
			if err != nil {
				return err
			}
			return printPath(cmd, path, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func printPath(cmd *cobra.Command, path string, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"path": path})
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), path)
	return err
}

func newBackendList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show where backends are looked for and what is there",
		Args:  exactly(0, "backend list takes no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			found := findAll()
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(found)
			}
			return printLibraries(cmd.OutOrStdout(), found)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a list of JSON objects")
	return cmd
}

// exactly checks the number of arguments.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return usage("%s", what)
		}
		return nil
	}
}
