#!/bin/sh
# Builds the static library that package model/tokenizer/daulet links with, from the source of the Go
# module github.com/daulet/tokenizers at the version in go.mod, into build/tokenizers/libtokenizers.a.
# Needs cargo. Does nothing when the library of that version is already there.
set -eu
cd "$(dirname "$0")/.."

module=github.com/daulet/tokenizers
version=$(go list -m -f '{{.Version}}' "$module")
out=build/tokenizers
if [ -f "$out/libtokenizers.a" ] && [ "$(cat "$out/version" 2>/dev/null)" = "$version" ]; then
	echo "$out/libtokenizers.a ($version) is there"
	exit 0
fi
command -v cargo >/dev/null 2>&1 || { echo "build-tokenizers: needs cargo (Rust)" >&2; exit 1; }

go mod download "$module"
source=$(go list -m -f '{{.Dir}}' "$module")
# The module cache is read-only; cargo writes beside its sources.
rm -rf "$out/source"
mkdir -p "$out"
cp -R "$source" "$out/source"
chmod -R u+w "$out/source"
# --locked: the crates are those that the module's own Cargo.lock names.
(cd "$out/source" && cargo build --release --locked)
cp "$out/source/target/release/libtokenizers.a" "$out/libtokenizers.a"
echo "$version" >"$out/version"
rm -rf "$out/source"
echo "$out/libtokenizers.a ($version)"
