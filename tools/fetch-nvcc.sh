#!/bin/sh
# Installs the CUDA compiler of csrc/nvcc.txt into build/nvcc, and beside it the two programs with
# which the tests read what it made. 300 MB; needs Python with pip, on Linux. Does nothing when what
# is there is of those versions.
set -eu
cd "$(dirname "$0")/.."

# The oldest that the index has; they read what nvcc 13.0 writes.
readers="nvidia-cuda-cuobjdump==13.2.86 nvidia-cuda-nvdisasm==13.2.86"
out=build/nvcc
want="$(grep -v '^#' csrc/nvcc.txt) $readers"
if [ "$(cat "$out/versions" 2>/dev/null)" = "$want" ]; then
	echo "$out/nvidia/cu13/bin/nvcc is there"
	exit 0
fi
python3 -m pip --version >/dev/null 2>&1 || { echo "fetch-nvcc: needs python3 with pip" >&2; exit 1; }
rm -rf "$out"
# shellcheck disable=SC2086
python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --target "$out" -r csrc/nvcc.txt $readers
"$out/nvidia/cu13/bin/nvcc" --version >/dev/null
echo "$want" >"$out/versions"
echo "$out/nvidia/cu13/bin/nvcc"
