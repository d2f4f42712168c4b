# Every command of the project; `make` alone lists them. What a command needs is installed under
# the target folder, in the versions pinned here and in the lock files.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

target := $(abspath $(or $(CARGO_TARGET_DIR),target))
tools := $(target)/tools
demo_venv := $(target)/demo-venv
demo_python := $(demo_venv)/bin/python
node_worker := demo/worker-node
protos := $(wildcard proto/lessor/v1/*.proto)
cargo_deny_version := 0.20.2

# The demo's settings. They reach it through the environment: a folder's name may hold anything.
export DIR ?= .
export STORE ?= sqlite
# Compiled files that appear while the demo hashes this folder would only confuse it.
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Compile the broker, its command line and the Rust client
	cargo build --locked

.PHONY: demo
demo: demo-parts $(if $(filter redis,$(STORE)),redis) ## Hash the files of DIR=folder by three workers, one of which dies (STORE=sqlite|redis)
	@$(demo_python) demo/demo.py --dir "$$DIR" --store "$$STORE" $(ARGS)

.PHONY: demo-parts
demo-parts: $(demo_venv)/.stubs $(node_worker)/gen/.stubs
	cargo build --locked --package lessor-cli --package lessor-demo-worker

.PHONY: test
test: test-rust test-demo ## Run all tests

.PHONY: test-rust
test-rust: redis ## Run the tests of all Rust packages
	cargo test --locked --workspace

.PHONY: test-demo
test-demo: redis demo-parts $(demo_venv)/.dev ## Run the tests of the demo and its workers
	$(demo_python) -m pytest demo

.PHONY: lint
lint: lint-rust lint-proto lint-python lint-node lint-shell lint-docs ## Check format, style, types and the compatibility of the protocol

# The published libraries are documented for others; the rest for whoever works on it, private
# items included.
.PHONY: lint-rust
lint-rust:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --package lessor-proto --package lessor
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --locked --no-deps \
	  --document-private-items --workspace --exclude lessor-proto --exclude lessor

.PHONY: lint-proto
lint-proto: $(tools)/.npm
	$(tools)/node_modules/.bin/buf lint
	$(tools)/node_modules/.bin/buf format --diff --exit-code
	$(tools)/node_modules/.bin/buf breaking --against proto/baseline.binpb

.PHONY: lint-python
lint-python: $(tools)/.venv-ready $(demo_venv)/.stubs $(demo_venv)/.dev
	$(tools)/venv/bin/ruff check demo
	$(tools)/venv/bin/ruff format --check demo
	cd demo && $(tools)/venv/bin/mypy --cache-dir $(tools)/mypy-cache --python-executable $(demo_python) *.py worker-python/*.py

.PHONY: lint-node
lint-node: $(tools)/.npm
	cd $(node_worker) && $(tools)/node_modules/.bin/biome ci --colors=off

.PHONY: lint-shell
lint-shell:
	for script in scripts/*.sh .ci/run; do bash -n "$$script"; done

.PHONY: lint-docs
lint-docs:
	scripts/check-docs

.PHONY: bench
bench: redis ## Measure the promises of docs/performance.md (ROUNDS=3, OUT=file for JSON lines)
	cargo build --locked --release --package lessor-cli --package lessor-bench
	$(target)/release/lessor-bench --binary $(target)/release/lessor --rounds $(or $(ROUNDS),3) $(if $(OUT),--out "$(OUT)")

.PHONY: deny
deny: $(tools)/bin/cargo-deny ## Check licences and origins of the dependencies
	$(tools)/bin/cargo-deny --locked check --hide-inclusion-graph bans licenses sources

.PHONY: advisories
advisories: $(tools)/bin/cargo-deny ## Check the dependencies against the RustSec advisories
	$(tools)/bin/cargo-deny --locked check advisories

.PHONY: clean
clean: ## Remove what was built or installed here
	cargo clean
	rm -rf $(tools) $(demo_venv) $(node_worker)/gen $(node_worker)/node_modules

.PHONY: redis
redis:
	scripts/install-redis.sh

# What the commands need. A stamp file is as old as the installation.

$(demo_venv)/.ready: demo/requirements.txt
	scripts/python-venv.sh $(demo_venv) $<
	touch $@

$(demo_venv)/.dev: demo/requirements-dev.txt $(demo_venv)/.ready
	$(demo_python) -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(demo_venv)/.stubs: $(demo_venv)/.ready $(protos)
	scripts/python-stubs.sh $(demo_venv) proto
	touch $@

$(node_worker)/node_modules/.ready: $(node_worker)/package-lock.json
	npm ci --prefix $(node_worker) --no-audit --no-fund
	touch $@

$(node_worker)/gen/.stubs: $(node_worker)/node_modules/.ready $(node_worker)/buf.gen.yaml $(tools)/.npm $(protos)
	PATH="$(tools)/node_modules/.bin:$$PATH" npm run --prefix $(node_worker) generate
	touch $@

# No lock file: these tools depend on nothing but their own binaries, pinned to the same version.
$(tools)/.npm: scripts/tools/package.json
	mkdir -p $(tools)
	cp $< $(tools)
	npm install --prefix $(tools) --no-package-lock --no-audit --no-fund
	touch $@

$(tools)/.venv-ready: scripts/tools/requirements.txt
	scripts/python-venv.sh $(tools)/venv $<
	touch $@

$(tools)/bin/cargo-deny:
	cargo install --locked --quiet --root $(tools) cargo-deny@$(cargo_deny_version)
