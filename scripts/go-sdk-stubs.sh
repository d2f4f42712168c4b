#!/usr/bin/env bash
# Generates the Go client's copy of the protocol; with --check it only compares.
# usage: go-sdk-stubs.sh [--check], with buf and the Go plugins on the PATH
set -euo pipefail
cd "$(dirname "$0")/../client-go"

if [[ ${1:-} != --check ]]; then
  buf generate
  exit
fi
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
buf generate --output "$fresh"
diff -r lessorpb "$fresh/lessorpb" || {
  echo "client-go/lessorpb is out of date: run make client-go-stubs" >&2
  exit 1
}
