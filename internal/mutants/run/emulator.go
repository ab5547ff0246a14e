//go:build linux

package main

import (
	"github.com/ebitengine/purego"

	"github.com/llama3v/llama3v/binding"
)

// emulator is the library of all mutants, with the functions that only it has.
type emulator struct {
	*binding.Library
	selectMutant func(number int32)
	count        func() int32
	asked        func(out *byte)
	configure    func(order int32, seed uint64, check int32)
}

func openEmulator(path string) (*emulator, error) {
	library, err := binding.Open(path)
	if err != nil {
		return nil, err
	}
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	e := &emulator{Library: library}
	purego.RegisterLibFunc(&e.selectMutant, handle, "l3v_mutant_select")
	purego.RegisterLibFunc(&e.count, handle, "l3v_mutant_count")
	purego.RegisterLibFunc(&e.asked, handle, "l3v_mutant_asked")
	purego.RegisterLibFunc(&e.configure, handle, "l3v_emu_configure")
	return e, nil
}

// schedules: in which order threads and blocks run, and with which seed.
var schedules = []struct {
	name  string
	order int32
	seed  uint64
}{
	{"random", 2, 1}, {"reverse", 1, 1}, {"warps", 3, 1},
}
