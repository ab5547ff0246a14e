# The front door: `make help` lists what there is. Thin over cmake and go.

GENERATOR := $(if $(shell command -v ninja),-G Ninja)
EXT := $(if $(filter Darwin,$(shell uname -s)),dylib,so)
JOBS := $(shell getconf _NPROCESSORS_ONLN)

.PHONY: help run lib cuda emu test hardware test-cuda bench-cuda bench vocab smollm2 tokenizers clean

help: ## lists the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: lib ## describes a picture with the model that ships here
	go run ./cmd/llama3v run testdata/demo testdata/demo/pictures/dog.jpg -p "Describe the picture."

lib: ## builds the CPU library and installs it for every program of this user
	@command -v go >/dev/null || { echo "make needs Go 1.26 or newer: https://go.dev/dl" >&2; exit 1; }
	@command -v cmake >/dev/null || { echo "make lib needs CMake and a C++17 compiler (Debian: apt install cmake g++, macOS: brew install cmake); with the compiler alone there is: go run ./cmd/llama3v backend build cpu" >&2; exit 1; }
	cmake -S . -B build $(GENERATOR) -DL3V_CUDA=AUTO
	cmake --build build -j $(JOBS) --target llama3v-cpu
	go run ./cmd/llama3v backend install cpu build/lib/libllama3v-cpu.$(EXT)

cuda: ## builds the CUDA library and installs it; where there is no nvcc, fetches one (300 MB) into build/nvcc
	@command -v go >/dev/null || { echo "make needs Go 1.26 or newer: https://go.dev/dl" >&2; exit 1; }
	@[ "$$(uname -s)" = Linux ] || { echo "make cuda: CUDA is for Linux" >&2; exit 1; }
	@command -v cmake >/dev/null || { echo "make cuda needs CMake and a C++17 compiler (Debian: apt install cmake g++)" >&2; exit 1; }
	command -v nvcc || [ -x /usr/local/cuda/bin/nvcc ] || [ -n "$$CUDA_HOME$$CUDA_PATH$$NVCC" ] || tools/fetch-nvcc.sh
	cmake -S . -B build $(GENERATOR) -DL3V_CUDA=ON
	cmake --build build -j $(JOBS) --target llama3v-cuda
	go run ./cmd/llama3v backend install cuda build/lib/libllama3v-cuda.so

test: ## runs every check that this machine can run
	tools/test.sh

emu: ## builds the CPU library, and the CUDA one to run on the CPU, into build/emu (for tests)
	cmake -S . -B build/emu $(GENERATOR) -DL3V_EMULATE=ON
	cmake --build build/emu -j $(JOBS)
	ln -f build/emu/lib/libllama3v-*.$(EXT) build/emu
	@echo 'compare them: LLAMA3V_LIB_DIR=build/emu go run ./cmd/llama3v parity testdata/demo --backends cpu,cuda'

hardware: ## builds what test-cuda and bench-cuda run: a machine with a card needs no Go, only this checkout
	@if command -v go >/dev/null; then set -e; mkdir -p build/hardware; \
	  for p in .:llama3v model/ops:ops model/siglip:siglip model/llama:llama model/vlm:vlm; do \
	    CGO_ENABLED=0 go test -c -o build/hardware/$${p#*:}.test ./$${p%:*}; done; \
	  CGO_ENABLED=0 go build -o build/hardware/ ./cmd/llama3v ./tools/hardware; \
	elif [ ! -x build/hardware/hardware ]; then echo "there is no Go here, and build/hardware has not been built elsewhere (make hardware)" >&2; exit 1; fi

test-cuda: hardware ## runs all tests on this machine's card and records them in docs/hardware
	build/hardware/hardware test

bench-cuda: hardware ## measures ops and models on this machine's card and records them in docs/hardware
	build/hardware/hardware bench

bench: lib ## measures every op beside the bound of this machine
	go run ./cmd/llama3v bench ops

vocab: ## fetches the Llama 3 vocabulary, whose licence keeps it out of the repository
	tools/fetch-llama3-vocab.sh

smollm2: ## fetches the real model that tests compare with (98 MB)
	tools/fetch-smollm2.sh

tokenizers: ## builds the Rust tokenizer library (needs cargo)
	tools/build-tokenizers.sh

clean: ## removes what was built here
	rm -rf build bin
