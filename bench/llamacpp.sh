#!/bin/sh
# Measures llama.cpp and this project in turns on Llama 3 8B's shape, two layers and four of 32: a prompt
# of 512 tokens, then one token at a time. A layer's time is half the difference.
#
#   bench/llamacpp.sh LLAMA_BENCH [TYPE...]     LLAMA_BENCH: the path of llama.cpp's llama-bench
#
# llama.cpp's source is in the sdist of the PyPI package llama-cpp-python (vendor/llama.cpp):
#   cmake -S vendor/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release && cmake --build build --target llama-bench
# Files of up to 4 GB go to TMPDIR. Needs make lib.
set -eu
bench=${1:?"bench/llamacpp.sh LLAMA_BENCH [TYPE...]"}
shift
[ $# -gt 0 ] || set -- q4_0 q8_0 q4_k bf16
cd "$(dirname "$0")/.."
threads=$(getconf _NPROCESSORS_ONLN)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -o "$work/llama3v" ./cmd/llama3v
CGO_ENABLED=0 go build -o "$work/randomgguf" ./bench/randomgguf
for type in "$@"; do
	activations=int8
	case $type in f32 | f16 | bf16) activations=f32 ;; esac
	for layers in 2 4; do
		"$work/randomgguf" -type "$type" -layers $layers "$work/m.gguf"
		echo "== $type, $layers layers"
		"$bench" -m "$work/m.gguf" -t "$threads" -p 512 -n 16 -r 3 2>/dev/null | grep -E 'pp512|tg16'
		"$work/llama3v" bench model llama-3-8b --weights "$type" --activations $activations --layers $layers | tail -2
	done
done
