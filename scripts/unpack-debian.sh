#!/usr/bin/env bash
# Unpacks Debian packages, with what they need and this machine lacks, into a folder: programs to
# measure, without the services that an installation would start. Needs no rights.
# usage: unpack-debian.sh FOLDER PACKAGE...
set -euo pipefail

folder=$1
shift
if ! command -v apt-get >/dev/null; then
  echo "$* must be installed, and there is no apt-get to fetch it with" >&2
  exit 1
fi
mkdir -p "$folder/packages"
cd "$folder"

for package in "$@"; do
  if [ -e "packages/$package.unpacked" ]; then
    continue
  fi
  if ! plan=$(apt-get --simulate install --no-install-recommends "$package" 2>&1); then
    echo "apt-get can't find $package (is 'apt-get update' due?): $plan" >&2
    exit 1
  fi
  mapfile -t missing < <(awk '/^Inst /{print $2}' <<<"$plan")
  echo "unpacking $package" >&2
  for name in "${missing[@]}"; do
    (cd packages && apt-get download -qq "$name")
  done
  for archive in packages/*.deb; do
    [ ! -e "$archive" ] || dpkg -x "$archive" .
  done
  rm -f packages/*.deb
  touch "packages/$package.unpacked"
done

# Debian's Erlang looks for itself at one place only.
erl=usr/lib/erlang/bin/erl
if [ -e "$erl" ]; then
  sed -i "s|ROOTDIR=/usr/lib/erlang|ROOTDIR=$PWD/usr/lib/erlang|" "$erl"
fi
