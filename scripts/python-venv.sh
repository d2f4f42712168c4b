#!/usr/bin/env bash
# Makes a fresh virtual environment with the pinned packages of one or more requirements files.
# usage: python-venv.sh FOLDER REQUIREMENTS...
set -euo pipefail

folder=$1
shift
python=${PYTHON:-python3}

rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
if ! "$python" -m venv "$folder"; then
  echo "cannot make a virtual environment: on Debian, install the package python3-venv" >&2
  exit 1
fi
options=()
for requirements in "$@"; do
  options+=(--requirement "$requirements")
done
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check "${options[@]}"
