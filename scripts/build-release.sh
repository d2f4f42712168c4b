#!/usr/bin/env bash
# Compiles what a release consists of, and what measures it, for the code that runs often (profile/lessor.profdata).
# The profile knows functions by the features of all that they are compiled with, so a package is built alone.
# usage: build-release.sh --package PACKAGE
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
# Cargo does not look into files that flags name. With its sum in its name, another profile is another flag.
sum=$(sha256sum "$root/profile/lessor.profdata")
profile=$target/profile-${sum:0:16}.profdata
mkdir -p "$target"
cp "$root/profile/lessor.profdata" "$profile"

flags=-Cprofile-use=$profile
if [ -n "${CARGO_ENCODED_RUSTFLAGS:-}" ]; then
  flags=$CARGO_ENCODED_RUSTFLAGS$'\x1f'$flags
elif [ -n "${RUSTFLAGS:-}" ]; then
  flags=$(tr ' ' '\037' <<<"$RUSTFLAGS")$'\x1f'$flags
fi
cd "$root"
CARGO_ENCODED_RUSTFLAGS=$flags exec cargo build --locked --release "$@"
