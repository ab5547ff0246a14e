// Package mutants makes small errors in GPU kernels and sees whether the tests notice: mechanically,
// from a kernel's text, one at a time. A kernel whose barrier can go without any test failing has a
// barrier too many, or a test too few.
//
// All mutants of all files are compiled at once. Each mutable place asks which mutant is selected:
//
//	__syncthreads();        (is(7) ? (void)0 : (void)(__syncthreads()));
//	i < count               force(8, 9, i < shift(10, 11, count))
//
// The rules (rules.go), for device functions:
//
//	drop    a statement that is a call: barrier, fence, wait, commit, fault note
//	wait    a wait<n> for one fewer
//	true    a condition, or a part of one between && and ||, always holds
//	false   it never does
//	+1, -1  the right side of <, <=, > or >=, of integers; what a loop begins with or steps by
//	index   a subscript, or the row that an accessor is asked for, is one larger
//	other   the other stage or phase
//	min     for max, and the reverse
//	lane    a shuffle's lane or offset is another, or a lane of its mask is wrong
package mutants

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// space is the C++ namespace of what the rewritten kernels call.
const space = "::l3v_mutant"

// Mutant is one error in one place.
type Mutant struct {
	Number   int    // from 1
	File     string // in csrc/cuda
	Line     int
	Text     string // of the line
	Mutation string
}

func (m Mutant) String() string {
	return fmt.Sprintf("%s:%d: %s\n    %s", m.File, m.Line, m.Text, m.Mutation)
}

// Rewrite puts the mutants of a file's device functions into its text, numbered from first.
func Rewrite(file, text string, first int) (string, []Mutant, error) {
	list, err := tokens(text)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", file, err)
	}
	pair, err := pairs(list)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", file, err)
	}
	w := &writer{file: file, text: text, lines: strings.Split(text, "\n"), tokens: list, pair: pair, next: first, instead: map[int]string{}}
	w.functions()
	if w.err != nil {
		return "", nil, w.err
	}
	return w.rewritten(), w.found, nil
}

// Wrappers of single instructions have no mutants: csrc/emu stands in for what they do.
var wrappers = []string{"ptx.cuh", "hopper.cuh"}

// Write makes a source tree in out whose kernels have all mutants in them: everything but csrc/cuda
// is that of root.
func Write(root, out string) ([]Mutant, error) {
	for _, link := range []string{"CMakeLists.txt", "csrc/common", "csrc/cpu", "csrc/emu", "csrc/include", "csrc/exports.map", "csrc/flags.txt"} {
		to := filepath.Join(out, link)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return nil, err
		}
		if err := os.Remove(to); err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		if err := os.Symlink(filepath.Join(root, link), to); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, "csrc/cuda"))
	if err != nil {
		return nil, err
	}
	kernels := filepath.Join(out, "csrc/cuda")
	if err := os.MkdirAll(kernels, 0o755); err != nil {
		return nil, err
	}
	var all []Mutant
	kept := map[string]bool{"l3v_mutant.h": true, "l3v_mutant.cpp": true}
	for _, entry := range entries {
		name := entry.Name()
		from := filepath.Join(root, "csrc/cuda", name)
		data, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		if ext := filepath.Ext(name); (ext == ".cu" || ext == ".cuh") && !slices.Contains(wrappers, name) {
			text, found, err := Rewrite(name, string(data), len(all)+1)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
			data = fmt.Appendf(nil, "#include \"l3v_mutant.h\"\n#line 1 \"%s\"\n%s", from, text)
		}
		kept[name] = true
		if err := replace(filepath.Join(kernels, name), data); err != nil {
			return nil, err
		}
	}
	if err := replace(filepath.Join(kernels, "l3v_mutant.h"), []byte(header)); err != nil {
		return nil, err
	}
	if err := replace(filepath.Join(kernels, "l3v_mutant.cpp"), fmt.Appendf(nil, source, len(all)+1)); err != nil {
		return nil, err
	}
	old, err := os.ReadDir(kernels)
	if err != nil {
		return nil, err
	}
	for _, entry := range old {
		if !kept[entry.Name()] {
			if err := os.Remove(filepath.Join(kernels, entry.Name())); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// replace writes a file that is not so already, so that no more is built again than has to be.
func replace(path string, data []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return os.WriteFile(path, data, 0o644)
}

// The functions that rewritten kernels call. is() does the same all through a launch, which
// "const" tells the compiler, so that it asks outside of loops; that it also notes who asked is
// no one's business but the tests'. A bound that is a float, a pointer or a bool has no +1: those
// mutants are never asked for, and are none.
const header = `#ifndef L3V_MUTANT_H
#define L3V_MUTANT_H
#include <cmath>
#include <type_traits>

namespace l3v_mutant {
__attribute__((const)) bool is(int number);
void none(int number);

inline bool force(int always, int never, bool v) {
  const bool hold = is(always), drop = is(never);
  return hold || (v && !drop);
}
template <class T>
T shift(int up, int down, T v) {
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    if (is(up)) return static_cast<T>(v + 1);
    if (down != 0 && is(down)) return static_cast<T>(v - 1);
  } else {
    none(up);
    none(down);
  }
  return v;
}
template <class T>
T other(int number, T v) {
  return is(number) ? static_cast<T>(v ^ 1) : v;
}
template <class A, class B>
auto swap_max(int number, A a, B b) { return is(number) == (a > b) ? b : a; }
template <class A, class B>
auto swap_min(int number, A a, B b) { return is(number) == (a < b) ? b : a; }
inline float swap_fmaxf(int number, float a, float b) { return is(number) ? fminf(a, b) : fmaxf(a, b); }
inline float swap_fminf(int number, float a, float b) { return is(number) ? fmaxf(a, b) : fminf(a, b); }
}  // namespace l3v_mutant
#endif
`

// %d: one more than there are mutants.
const source = `#include "l3v_mutant.h"

#include <cstdint>

namespace {
int selected = 0;
uint8_t asked[%[1]d];  // 1: by a kernel; 2: a kernel passed by, and there is no such mutant
}  // namespace

namespace l3v_mutant {
bool is(int number) {
  asked[number] |= 1;
  return number == selected;
}
void none(int number) { asked[number] |= 2; }
}  // namespace l3v_mutant

#define L3V_MUTANT extern "C" __attribute__((visibility("default")))
// 0: none.
L3V_MUTANT void l3v_mutant_select(int32_t number) { selected = number; }
// One more than there are.
L3V_MUTANT int32_t l3v_mutant_count() { return %[1]d; }
// Copies what kernels have asked for since the last call.
L3V_MUTANT void l3v_mutant_asked(uint8_t* out) {
  for (int i = 0; i < %[1]d; i++) {
    out[i] = asked[i];
    asked[i] = 0;
  }
}
`
