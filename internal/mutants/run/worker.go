//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kernelSets are all forms that a kernel may have.
var kernelSets = []string{"plain", "sm80", "sm90"}

// measureCases runs every case with every set of kernels under every schedule: none may fail. It
// prints the configurations, without those that reach just what the case reaches with another set.
func measureCases(library string) error {
	e, err := openEmulator(library)
	if err != nil {
		return err
	}
	bits := make([]byte, e.count())
	var list []configuration
	for i, c := range cases(e.Capabilities()) {
		var before [][]int
		for _, kernels := range kernelSets {
			e.asked(&bits[0])
			e.configure(schedules[0].order, schedules[0].seed, 1)
			begin := time.Now()
			if err := c.on(e.Library, kernels); err != nil {
				return fmt.Errorf("%s with the kernels %s, %s, without a mutant: %w", c.name, kernels, schedules[0].name, err)
			}
			one := configuration{Case: i, Kernels: kernels, Name: c.name, Seconds: time.Since(begin).Seconds()}
			if os.Getenv("L3V_TIMES") != "" {
				fmt.Fprintf(os.Stderr, "%.3f %s/%s\n", one.Seconds, c.name, kernels)
			}
			e.asked(&bits[0])
			for n, asked := range bits {
				if asked&1 != 0 {
					one.Asked = append(one.Asked, n)
				} else if asked != 0 {
					one.None = append(one.None, n)
				}
			}
			if slices.ContainsFunc(before, func(asked []int) bool { return slices.Equal(asked, one.Asked) }) {
				continue
			}
			before = append(before, one.Asked)
			list = append(list, one)
			for _, s := range schedules[1:] {
				e.configure(s.order, s.seed, 1)
				if err := c.on(e.Library, kernels); err != nil {
					return fmt.Errorf("%s with the kernels %s, %s, without a mutant: %w", c.name, kernels, s.name, err)
				}
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(list)
}

// tryMutant runs configurations with the mutant that standard input names, and prints the first
// failure.
func tryMutant(library, configurations string) error {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(string(input))
	if err != nil {
		return err
	}
	e, err := openEmulator(library)
	if err != nil {
		return err
	}
	all := cases(e.Capabilities())
	e.selectMutant(int32(number))
	for _, s := range schedules {
		e.configure(s.order, s.seed, 1)
		for _, id := range strings.Split(configurations, ",") {
			n, kernels, _ := strings.Cut(id, "/")
			i, err := strconv.Atoi(n)
			if err != nil {
				return err
			}
			if err := all[i].on(e.Library, kernels); err != nil {
				fmt.Printf("%s, %s, %s: %v\n", all[i].name, kernels, s.name, err)
				return nil
			}
		}
	}
	return nil
}
