# The front door: `make help` lists what there is. Thin over cmake and go.

GENERATOR := $(if $(shell command -v ninja),-G Ninja)
EXT := $(if $(filter Darwin,$(shell uname -s)),dylib,so)
JOBS := $(shell getconf _NPROCESSORS_ONLN)

.PHONY: help lib clean

help: ## lists the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

lib: ## builds the CPU library and installs it for every program of this user
	cmake -S . -B build $(GENERATOR)
	cmake --build build -j $(JOBS)
	go run ./cmd/llama3v backend install cpu build/lib/libllama3v-cpu.$(EXT)

clean: ## removes what was built here
	rm -rf build bin
