#!/usr/bin/env bash
# Generates the Python client's copy of the protocol, or with --check says whether it is up to date.
# usage: python-sdk-stubs.sh VENV [--check]
set -euo pipefail
cd "$(dirname "$0")/.."

python=$1/bin/python
kept=client-python/src/lessor/v1
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

"$python" -m grpc_tools.protoc --proto_path=proto \
  --python_out="$made" --pyi_out="$made" --grpc_python_out="$made" proto/lessor/v1/*.proto
echo '"""The protocol: its messages and stubs, generated from the .proto files."""' \
  >"$made/lessor/v1/__init__.py"
# Files without a service have no stubs worth keeping.
for stub in "$made"/lessor/v1/*_pb2_grpc.py; do
  grep -q 'Stub(' "$stub" || rm "$stub"
done

if [[ ${2:-} == --check ]]; then
  diff --recursive --brief --exclude=__pycache__ "$made/lessor/v1" "$kept" || {
    echo "client-python: the generated code is stale; run make client-python-stubs" >&2
    exit 1
  }
else
  rm -rf "$kept"
  cp -r "$made/lessor/v1" "$kept"
fi
