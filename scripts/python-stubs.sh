#!/usr/bin/env bash
# Generates the protocol's Python stubs into a virtual environment, as if they were a package.
# usage: python-stubs.sh VENV PROTO_FOLDER
set -euo pipefail

python=$1/bin/python
proto=$2

out=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -m grpc_tools.protoc --proto_path="$proto" \
  --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" "$proto"/lessor/v1/*.proto
touch "$out/lessor/py.typed"
