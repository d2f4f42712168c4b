#!/usr/bin/env bash
# Generates the Node.js client's copy of the protocol; with --check it only compares.
# usage: node-sdk-stubs.sh [--check], with buf on the PATH, from the project's folder
set -euo pipefail

cd client-node
if [[ ${1:-} != --check ]]; then
  buf generate ../proto --exclude-path ../proto/externalscaler
  exit
fi
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
buf generate ../proto --exclude-path ../proto/externalscaler --output "$fresh"
diff -r src/gen "$fresh/src/gen" || {
  echo "client-node/src/gen is out of date: run make client-node-stubs" >&2
  exit 1
}
