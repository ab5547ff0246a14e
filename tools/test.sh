#!/usr/bin/env bash
# All checks that this machine can run, in order of cost. `make test` calls it.
#
# L3V_REQUIRE names what must not be skipped, separated by commas:
#   cpu            the CPU library builds and its tests run
#   cc             a C compiler, for the fake library of the binding's tests
#   race           the race detector (needs cgo)
#   sanitize       the op suite on a library built with address and undefined-behaviour sanitizers
#   nvcc           the CUDA library builds, and is what csrc/cuda/sass.txt says (make cuda)
#   emulator       the CUDA kernels on the emulator: op suite, golden models, demo, failures, parity
#   llama3-vocab   the Llama 3 vocabulary (tools/fetch-llama3-vocab.sh)
#   smollm2        SmolLM2-135M, a real model of 98 MB (tools/fetch-smollm2.sh)
#   rust           the Rust tokenizer (tools/build-tokenizers.sh)
set -euo pipefail
cd "$(dirname "$0")/.."

required() { case ",${L3V_REQUIRE:-}," in *",$1,"*) return 0 ;; *) return 1 ;; esac; }
step() { printf '\n== %s\n' "$*"; }
missing() { # what, why
  if required "$1"; then
    printf 'FAIL: %s is required and %s\n' "$1" "$2" >&2
    exit 1
  fi
  printf 'skipped: %s\n' "$2"
}

# The Rust tokenizer and the emulator have steps of their own; elsewhere their tests skip. The CUDA
# library lies beside the CPU's, and only where that one is used.
plain=$(printf %s "${L3V_REQUIRE:-}" | tr , '\n' | grep -vx -e rust -e emulator -e nvcc | paste -sd, - || true)

command -v go >/dev/null || { echo "make test needs Go 1.26 or newer (https://go.dev/dl)" >&2; exit 1; }

step format and vet
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { printf 'FAIL: gofmt would change:\n%s\n' "$unformatted" >&2; exit 1; }
CGO_ENABLED=0 go vet ./...
# What compiles for other systems without their tools.
for target in darwin/arm64 linux/arm64 windows/amd64; do
  GOOS=${target%/*} GOARCH=${target#*/} CGO_ENABLED=0 go vet ./...
done

step build of the CPU library
if command -v cmake >/dev/null && { command -v c++ || command -v g++ || command -v clang++; } >/dev/null; then
  make lib
  export LLAMA3V_LIB_DIR=$PWD/build/lib
else
  missing cpu "cmake or a C++ compiler is not installed"
fi

step CUDA library
nvcc=
if [ -n "${LLAMA3V_LIB_DIR:-}" ] && [ "$(uname -s)" = Linux ] &&
  { [ -n "${NVCC:-}" ] || command -v nvcc || [ -x /usr/local/cuda/bin/nvcc ] || [ -x build/nvcc/nvidia/cu13/bin/nvcc ]; }; then
  make cuda
  if required nvcc; then nvcc=,nvcc; fi # the tests that follow find it anyway, and then must
else
  missing nvcc "there is no nvcc; tools/fetch-nvcc.sh installs one (300 MB)"
fi

step unit, conformance and golden tests, without cgo
L3V_REQUIRE=$plain$nvcc CGO_ENABLED=0 go test ./...

if [ -n "${LLAMA3V_LIB_DIR:-}" ]; then
  step examples
  pictures=testdata/demo/pictures
  CGO_ENABLED=0 go run ./examples/caption testdata/demo $pictures/dog.jpg $pictures/frog.png
  CGO_ENABLED=0 go run ./examples/compare testdata/demo $pictures/dog.jpg $pictures/banana.jpg $pictures/elephant.jpg
  CGO_ENABLED=0 go run ./examples/backends testdata/demo $pictures/dog.jpg
fi

step race detector
if command -v "$(go env CC)" >/dev/null; then
  L3V_REQUIRE=$plain CGO_ENABLED=1 go test -race -short ./...
else
  missing race "cgo or a C compiler is not there"
fi

step sanitizers
asan=$(${CC:-cc} -print-file-name=libasan.so 2>/dev/null || true)
if [ "$(uname -s)" = Linux ] && [ -f "$asan" ]; then
  cmake -S . -B build/asan $(command -v ninja >/dev/null && echo -G Ninja) -DL3V_SANITIZE=address,undefined >/dev/null
  cmake --build build/asan -j "$(getconf _NPROCESSORS_ONLN)"
  # Go programs end without freeing what the process owns, so only errors count here; the binding's
  # own tests count leaks.
  LLAMA3V_LIB_DIR=$PWD/build/asan/lib LD_PRELOAD=$asan ASAN_OPTIONS=detect_leaks=0:handle_segv=0 \
    L3V_REQUIRE=$plain CGO_ENABLED=0 go test -short ./model/ops/... ./model/vlm/... ./binding/...
else
  missing sanitize "gcc's address sanitizer is not installed"
fi

step CUDA kernels on the emulator
if [ "$(uname -sm)" = "Linux x86_64" ] && command -v cmake >/dev/null && command -v "${CXX:-g++}" >/dev/null; then
  cmake -S . -B build/emu $(command -v ninja >/dev/null && echo -G Ninja) -DL3V_EMULATE=ON >/dev/null
  cmake --build build/emu --target llama3v-cuda emutest -j "$(getconf _NPROCESSORS_ONLN)"
  LLAMA3V_LIB_DIR=$PWD/build/emu/lib L3V_REQUIRE=emulator CGO_ENABLED=0 go test ./internal/emutest
  LLAMA3V_LIB_DIR=$PWD/build/emu/lib L3V_REQUIRE=cuda CGO_ENABLED=0 go test -short -timeout 30m ./model/ops
  # Small errors in the kernels, one at a time: the emulator or a wrong answer must tell of each.
  CGO_ENABLED=0 go run ./internal/mutants/run
  # Failing drivers, golden models, the demo's answers and parity; the tests say what they leave out here.
  LLAMA3V_LIB_DIR=$PWD/build/emu/lib L3V_REQUIRE=cuda CGO_ENABLED=0 go test -short -run 'CUDA|Card|Captured' ./binding ./model/siglip
  LLAMA3V_LIB_DIR=$PWD/build/emu/lib L3V_REQUIRE=cuda CGO_ENABLED=0 go test -short -run Golden ./model/vlm
  LLAMA3V_LIB_DIR=$PWD/build/emu/lib L3V_REQUIRE=cuda LLAMA3V_BACKEND=cuda CGO_ENABLED=0 go test -short -run 'DemoAnswers|ThePlan' .
  ln -f build/emu/lib/libllama3v-cuda.so build/lib/libllama3v-cpu.so build/emu
  LLAMA3V_LIB_DIR=$PWD/build/emu L3V_REQUIRE=cpu,cuda CGO_ENABLED=0 go test -short -run CUDA ./cmd/llama3v
else
  missing emulator "the emulator runs on Linux on x86-64 and needs cmake and g++"
fi

step the Rust tokenizer
if [ -f build/tokenizers/libtokenizers.a ]; then
  CGO_ENABLED=1 CGO_LDFLAGS="-L$PWD/build/tokenizers" go test -tags daulet ./model/tokenizer/...
else
  missing rust "build/tokenizers/libtokenizers.a is not there; tools/build-tokenizers.sh makes it"
fi

# Every fuzz target, L3V_FUZZTIME each: 20s, longer before a release (10m).
step fuzz
go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}' ./... | while read -r dir; do
  for target in $(grep -hos '^func Fuzz[A-Za-z0-9]*' "$dir"/*_test.go | awk '{print $2}'); do
    echo "$dir $target"
    (cd "$dir" && CGO_ENABLED=0 go test -run '^$' -fuzz "^$target\$" -fuzztime "${L3V_FUZZTIME:-20s}" .)
  done
done

printf '\nall checks passed\n'
