#!/usr/bin/env bash
# Runs the examples of the Rust client against a broker, then uses its packages from a clean folder as
# a program would that depends on them. The registry has neither yet, so both come from their archives.
# usage: test-client-rust.sh TARGET, which holds what `cargo build` made
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1
folder=$(mktemp -d)
broker=
end() {
  [ -z "$broker" ] || kill "$broker" 2>/dev/null || true
  rm -rf "$folder"
}
trap end EXIT

"$target/debug/lessor" serve --listen 127.0.0.1:0 --store sqlite::memory: >"$folder/said" &
broker=$!
for _ in $(seq 300); do
  address=$(sed -n 's/.* serving on \([^,]*\),.*/\1/p' "$folder/said")
  [ -z "$address" ] || break
  sleep 0.1
done
url=http://$address
example() {
  timeout 60 "$target/debug/examples/$1" "${@:2}"
}
says() {
  grep -q -- "$1" "$folder/$2" || { echo "$2 does not say '$1':"; cat "$folder/$2"; exit 1; }
}

example enqueue a@example.com "$url" >"$folder/enqueue"
says '^enqueued queues/emails/jobs/' enqueue
"$target/debug/examples/worker" "$url" >"$folder/worker" &
worker=$!
"$target/debug/lessor" --server "$url" wait "$(sed 's/^enqueued //' "$folder/enqueue")" >/dev/null
kill -TERM "$worker"
wait "$worker"
says '^Welcome, a@example.com!$' worker
example enqueue b@example.com "$url" >"$folder/enqueue"
"$target/debug/examples/lease" "$url" >"$folder/lease" &
worker=$!
"$target/debug/lessor" --server "$url" wait "$(sed 's/^enqueued //' "$folder/enqueue")" >/dev/null
kill "$worker"
wait "$worker" || true
says 'sending {"to":"b@example.com"}' lease
example progress "$url" >"$folder/progress"
says 'JobProgress 80 %' progress
says 'JobSucceeded' progress
example layers "$url" >"$folder/layers"
says '^Dead request timed out$' layers
echo "the examples of the Rust client run"

# The archives hold what is published; the lock file keeps the versions that were tested.
cargo package --quiet --locked --offline --allow-dirty --no-verify --target-dir "$folder/packages" \
  --package lessor-proto --package lessor
mkdir -p "$folder/program/src"
for archive in "$folder"/packages/package/*.crate; do
  tar -xzf "$archive" -C "$folder"
done
version=$(cargo pkgid --offline --package lessor | sed 's/.*[@#]//')
cat >"$folder/program/Cargo.toml" <<END
[package]
name = "program"
edition = "2024"

[dependencies]
lessor = "$version"
serde = { version = "1", features = ["derive"] }
tokio = { version = "1", features = ["rt-multi-thread", "macros"] }

[patch.crates-io]
lessor = { path = "../lessor-$version" }
lessor-proto = { path = "../lessor-proto-$version" }
END
cp client-rs/examples/worker.rs "$folder/program/src/main.rs"
cp Cargo.lock "$folder/program"
cargo check --quiet --offline --manifest-path "$folder/program/Cargo.toml" \
  --target-dir "$target"
echo "a program in a clean folder compiles against the packages"
