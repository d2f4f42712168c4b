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
import_venv := $(target)/import-venv
python_sdk := $(target)/client-python
node_worker := demo/worker-node
node_sdk := client-node
node_examples := examples
node_example_names := llm-queue serverless-routes six-queues webhooks
# That of the system, or else one that is unpacked.
export POSTGRESQL_ROOT = $(if $(wildcard /usr/lib/postgresql/*/bin/postgres),/,$(target)/postgresql)
example_documents := $(target)/examples/documents
go_tools := $(tools)/.go-ready
protos := $(wildcard proto/lessor/v1/*.proto)
cargo_deny_version := 0.20.2
conformance_version := 1.0.5
helm_version := v4.2.4
kubeconform_version := v0.7.0
helm_docs_version := v1.14.2
kubernetes_validate_version := 1.37.0
# Whose custom resources the chart makes: their schemas are in these modules.
crd_modules := github.com/kedacore/keda/v2@v2.20.2 sigs.k8s.io/gateway-api@v1.6.3 \
  github.com/prometheus-operator/prometheus-operator@v0.85.0
# A stamp and a folder per version, so that another version is installed anew.
chart_tools := $(tools)/.helm-$(helm_version)-$(kubeconform_version)-$(helm_docs_version)
schemas := $(tools)/schemas-$(kubernetes_validate_version)

# The demo's settings. They reach it through the environment: a folder's name may hold anything.
export DIR ?= .
export STORE ?= sqlite
# The brokers that Lessor is measured beside: also rabbitmq, faktory and asynq.
PEERS ?= bullmq beanstalkd jetstream
# Compiled files that appear while the demo hashes this folder would only confuse it.
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Compile the broker, its command line and the Rust client
	cargo build --locked

.PHONY: release
release: ## Compile the broker and its command line as they are released
	scripts/build-release.sh --package lessor-cli

# Whoever compiles must merge: the LLVM of rustc.
.PHONY: profile
profile: llvm = $(shell rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
profile: redis ## Learn anew which code runs often, for releases: half an hour
	scripts/unpack-debian.sh $(target)/llvm llvm-$(llvm)
	LLVM_PROFILE_FILE=/dev/null CARGO_ENCODED_RUSTFLAGS=-Cprofile-generate CARGO_TARGET_DIR=$(target)/counting \
	  cargo build --locked --release --package lessor-cli
	PATH="$(target)/llvm/usr/bin:$$PATH" LD_LIBRARY_PATH="$$(echo $(target)/llvm/usr/lib/*-linux-gnu)" \
	  scripts/learn-profile $(target)/counting/release/lessor llvm-profdata-$(llvm) profile/lessor.profdata

.PHONY: demo
demo: demo-parts $(if $(filter redis,$(STORE)),redis) ## Hash the files of DIR=folder by three workers, one of which dies (STORE=sqlite|redis)
	@$(demo_python) demo/demo.py --dir "$$DIR" --store "$$STORE" $(ARGS)

.PHONY: demo-parts
demo-parts: $(demo_venv)/.stubs $(node_worker)/gen/.stubs
	cargo build --locked --package lessor-cli --package lessor-demo-worker

.PHONY: test
test: test-rust test-connect test-telemetry test-import test-demo test-plain test-client-rust test-client-python test-client-node test-client-go test-helm test-deploy test-keda test-examples ## Run all tests

.PHONY: test-rust
test-rust: redis ## Run the tests of all Rust packages
	cargo test --locked --workspace

.PHONY: test-connect
test-connect: $(tools)/bin/connectconformance ## Run the conformance suite of Connect and gRPC-Web
	cargo build --locked --workspace --example conformance
	$< --conf tests/connect/config.yaml --mode server --known-failing @tests/connect/known-failing.txt \
	  --known-flaky @tests/connect/known-flaky.txt -- $(target)/debug/examples/conformance \
	  "$$(go env GOMODCACHE)/connectrpc.com/conformance@v$(conformance_version)/proto"

.PHONY: test-telemetry
test-telemetry: $(tools)/bin/otelcol ## Run the test of traces, metrics and logs against an OpenTelemetry Collector
	cargo build --locked --package lessor-cli
	LESSOR_BIN=$(target)/debug/lessor OTELCOL=$< python3 -m unittest discover -v -s tests/telemetry

.PHONY: test-import
test-import: redis $(import_venv)/.ready tests/import/writers/node_modules/.ready ## Test lessor import with real BullMQ, Bull and RQ
	cargo build --locked --package lessor-cli
	LESSOR_BIN=$(target)/debug/lessor $(import_venv)/bin/python -m unittest discover -v -s tests/import

.PHONY: test-demo
test-demo: redis demo-parts $(demo_venv)/.dev ## Run the tests of the demo and its workers
	$(demo_python) -m pytest demo

.PHONY: test-plain
test-plain: $(demo_venv)/.stubs $(demo_venv)/.dev ## Run the scenarios that generated stubs have without a client library
	cargo build --locked --package lessor-cli
	LESSOR_BIN=$(target)/debug/lessor $(demo_python) -m pytest tests/plain

.PHONY: test-client-rust
test-client-rust: ## Run the scenarios and the examples of the Rust client, and try its packages
	cargo test --locked --package lessor-cli --test scenarios
	cargo build --locked --package lessor-cli
	cargo build --locked --package lessor --examples
	scripts/test-client-rust.sh $(target)

.PHONY: test-client-python
test-client-python: $(python_sdk)/.ready ## Run the tests of the Python client
	cargo build --locked --package lessor-cli
	LESSOR_BIN=$(target)/debug/lessor $(python_sdk)/bin/python -m pytest client-python --numprocesses 3

.PHONY: test-client-node
test-client-node: $(node_sdk)/dist/.built ## Run the tests of the Node.js client
	cargo build --locked --package lessor-cli
	LESSOR_BIN=$(target)/debug/lessor npm test --prefix $(node_sdk)

.PHONY: test-client-go
test-client-go: ## Run the tests of the Go client
	cargo build --locked --package lessor-cli
	cd client-go && LESSOR_BIN=$(target)/debug/lessor go test -count 1 -parallel 16 ./...

.PHONY: test-examples
test-examples: test-examples-node test-example-documents ## Run the tests of the examples

.PHONY: test-examples-node
test-examples-node: example-parts-node
	cd $(node_examples) && LESSOR_BIN=$(target)/debug/lessor npm test --workspaces --if-present

# One target per example, such as `make example-webhooks`.
.PHONY: $(addprefix example-,$(node_example_names))
$(addprefix example-,$(node_example_names)): example-%: example-parts-node
	@cd $(node_examples) && LESSOR_BIN=$(target)/debug/lessor npm run --silent demo --workspace $*

test-examples-node example-six-queues: postgresql

.PHONY: postgresql
postgresql:
	test $(POSTGRESQL_ROOT) = / || scripts/unpack-debian.sh $(POSTGRESQL_ROOT) postgresql

.PHONY: example-parts-node
example-parts-node: $(node_examples)/node_modules/.ready
	cargo build --locked --package lessor-cli

.PHONY: test-example-documents
test-example-documents: $(example_documents)/.ready
	cargo build --locked --package lessor-cli
	LESSOR_BIN=$(target)/debug/lessor $(MAKE) -C examples/documents test VENV=$(example_documents)

.PHONY: example-documents
example-documents: $(example_documents)/.ready
	cargo build --locked --package lessor-cli
	@LESSOR_BIN=$(target)/debug/lessor $(MAKE) --no-print-directory -C examples/documents demo VENV=$(example_documents)

.PHONY: client-go-stubs
client-go-stubs: $(go_tools) $(tools)/.npm ## Generate the Go client's copy of the protocol
	PATH="$(tools)/bin:$(tools)/node_modules/.bin:$$PATH" scripts/go-sdk-stubs.sh

.PHONY: client-node-stubs
client-node-stubs: $(node_sdk)/node_modules/.ready $(tools)/.npm ## Generate the Node.js client's copy of the protocol
	PATH="$(tools)/node_modules/.bin:$$PATH" scripts/node-sdk-stubs.sh

.PHONY: client-python-stubs
client-python-stubs: $(python_sdk)/.ready ## Generate the Python client's copy of the protocol
	scripts/python-sdk-stubs.sh $(python_sdk)

.PHONY: lint
lint: lint-rust lint-profile lint-drivers lint-proto lint-python lint-client-python lint-node lint-client-node lint-client-go lint-shell lint-docs lint-scenarios lint-helm lint-keda lint-examples ## Check format, style, types and the compatibility of the protocol

# The published libraries are documented for others; the rest for whoever works on it, private
# items included.
.PHONY: lint-rust
lint-rust:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --package lessor-proto --package lessor
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --locked --no-deps \
	  --document-private-items --workspace --exclude lessor-proto --exclude lessor

# A compiler that can't read it would say so only when a release is built.
.PHONY: lint-profile
lint-profile:
	mkdir -p $(target)
	echo 'pub fn one() -> u8 { 1 }' | rustc --crate-type lib --crate-name one --emit obj -o $(target)/one.o \
	  -Cprofile-use=$(abspath profile/lessor.profdata) -

# What drives other brokers is no part of the workspace. Go is there only where they are measured.
.PHONY: lint-drivers
lint-drivers:
	cargo fmt --manifest-path bench/drivers/rust/Cargo.toml --check
	CARGO_TARGET_DIR=$(target) cargo clippy --locked --manifest-path bench/drivers/rust/Cargo.toml -- -D warnings
	cd bench/drivers/go && if command -v go >/dev/null; then test -z "$$(gofmt -l .)" && go vet ./...; fi

.PHONY: lint-proto
lint-proto: $(tools)/.npm
	$(tools)/node_modules/.bin/buf lint
	$(tools)/node_modules/.bin/buf format --diff --exit-code
	$(tools)/node_modules/.bin/buf breaking --against proto/baseline.binpb

.PHONY: lint-python
lint-python: $(tools)/.venv-ready $(demo_venv)/.stubs $(demo_venv)/.dev
	$(tools)/venv/bin/ruff check demo tests/plain
	$(tools)/venv/bin/ruff check --config demo/pyproject.toml tests/telemetry tests/import
	$(tools)/venv/bin/ruff format --check demo tests/plain
	$(tools)/venv/bin/ruff format --check --config demo/pyproject.toml tests/telemetry tests/import
	cd demo && $(tools)/venv/bin/mypy --cache-dir $(tools)/mypy-cache --python-executable $(demo_python) *.py worker-python/*.py
	cd tests/plain && MYPYPATH=../../demo $(tools)/venv/bin/mypy --config-file ../../demo/pyproject.toml --cache-dir $(tools)/mypy-cache --python-executable $(demo_python) *.py

.PHONY: lint-client-python
lint-client-python: $(tools)/.venv-ready $(python_sdk)/.ready
	scripts/python-sdk-stubs.sh $(python_sdk) --check
	$(tools)/venv/bin/ruff check client-python
	$(tools)/venv/bin/ruff format --check client-python
	cd client-python && $(tools)/venv/bin/mypy --cache-dir $(tools)/mypy-cache-sdk --python-executable $(python_sdk)/bin/python src/lessor tests

.PHONY: lint-node
lint-node: $(tools)/.npm
	cd $(node_worker) && $(tools)/node_modules/.bin/biome ci --colors=off
	cd bench/drivers/bullmq && $(tools)/node_modules/.bin/biome ci --colors=off
	cd tests/import/writers && $(tools)/node_modules/.bin/biome ci --colors=off

.PHONY: lint-client-node
lint-client-node: $(tools)/.npm $(node_sdk)/dist/.built
	PATH="$(tools)/node_modules/.bin:$$PATH" scripts/node-sdk-stubs.sh --check
	cd $(node_sdk) && $(tools)/node_modules/.bin/biome ci --colors=off
	npm run check --prefix $(node_sdk)

.PHONY: lint-examples
lint-examples: lint-examples-node lint-example-documents

.PHONY: lint-examples-node
lint-examples-node: $(tools)/.npm $(node_examples)/node_modules/.ready
	cd $(node_examples) && $(tools)/node_modules/.bin/biome ci --colors=off
	npm run check --prefix $(node_examples)

.PHONY: lint-client-go
lint-client-go: $(go_tools) $(tools)/.npm
	PATH="$(tools)/bin:$(tools)/node_modules/.bin:$$PATH" scripts/go-sdk-stubs.sh --check
	cd client-go && test -z "$$(gofmt -l . | tee /dev/stderr)" && go vet ./... && $(tools)/bin/staticcheck ./...

.PHONY: lint-example-documents
lint-example-documents: $(tools)/.venv-ready $(example_documents)/.ready
	$(tools)/venv/bin/ruff check examples/documents
	$(tools)/venv/bin/ruff format --check examples/documents
	cd examples/documents && $(tools)/venv/bin/mypy --cache-dir $(tools)/mypy-cache-documents \
	  --python-executable $(example_documents)/bin/python documents tests

.PHONY: lint-shell
lint-shell:
	for script in scripts/*.sh .ci/run; do bash -n "$$script"; done

.PHONY: lint-docs
lint-docs:
	scripts/check-docs

.PHONY: lint-scenarios
lint-scenarios:
	scripts/check-scenarios

.PHONY: lint-helm
lint-helm: $(chart_tools) $(schemas)/.ready
	scripts/lint-chart $(tools) $(schemas)

.PHONY: test-deploy
test-deploy:
	cargo build --locked --package lessor-cli
	scripts/test-deploy $(target)/debug/lessor

.PHONY: test-helm
test-helm: $(chart_tools)
	scripts/unpack-debian.sh $(tools)/debian prometheus
	cargo build --locked --package lessor-cli
	scripts/test-chart $(tools) $(tools)/debian/usr/bin/promtool $(target)/debug/lessor

.PHONY: lint-keda
lint-keda:
	cd tests/keda && test -z "$$(gofmt -l .)" && go vet ./...

.PHONY: test-keda
test-keda: ## Test the scaler by KEDA's own client
	cargo build --locked --package lessor-cli
	cd tests/keda && LESSOR_BIN=$(target)/debug/lessor go test -count=1 ./...

.PHONY: image
image: ## Build the container image (ENGINE=docker, TAG=)
	$(or $(ENGINE),docker) build --tag lessor/lessor:$(or $(TAG),0.1.0) .

# Not among the tests: it needs root and a Debian, and a base image takes a minute or more to make.
.PHONY: test-image
test-image: ## Build and run the container image with no daemon; needs root and a Debian
	cargo build --locked --package lessor-cli
	mkdir -p $(target)/image
	scripts/test-image $(target)/image $(target)/debug/lessor

.PHONY: chart-readme
chart-readme: $(chart_tools) ## Write the README of the Helm chart anew from its values
	$(tools)/bin/helm-docs --chart-search-root helm/lessor --log-level error

# Its own folder, so that nothing of it is mistaken for the project's.
peers := $(target)/peers
bench_binaries = --binary $(target)/release/lessor

.PHONY: bench
bench: $(addprefix bench-,$(PEERS)) bench-lessor ## Measure Lessor beside PEERS (ROUNDS=3, OUT=file, WORKLOADS=, LESSOR=)
	$(target)/release/lessor-bench peers $(bench_binaries) --drivers $(target)/release/lessor-bench-drivers \
	  --unpacked $(peers)/debian --go $(peers)/go --rounds $(or $(ROUNDS),3) --peers $(PEERS) \
	  $(if $(LESSOR),--lessor $(filter-out none,$(LESSOR))) $(if $(WORKLOADS),--workloads $(WORKLOADS)) \
	  $(if $(JOBS),--jobs $(JOBS)) $(if $(OUT),--out "$(OUT)")

.PHONY: bench-promises
bench-promises: bench-lessor ## Measure the promises of docs/performance.md (ROUNDS=3, OUT=file, WHAT=)
	$(target)/release/lessor-bench promises $(bench_binaries) --rounds $(or $(ROUNDS),3) \
	  $(if $(OUT),--out "$(OUT)") $(WHAT)

.PHONY: bench-libraries
bench-libraries: $(python_sdk)/.ready $(node_sdk)/dist/.built bench-lessor ## Measure the client libraries beside plain stubs (ROUNDS=3, OUT=file, CLIENTS=)
	cd client-go && go build -o $(peers)/go/library ./bench
	$(target)/release/lessor-bench libraries $(bench_binaries) --python $(python_sdk)/bin/python \
	  --go $(peers)/go/library --rounds $(or $(ROUNDS),3) $(if $(CLIENTS),--clients $(CLIENTS)) \
	  $(if $(OUT),--out "$(OUT)")

.PHONY: bench-lessor
bench-lessor: redis
	scripts/build-release.sh --package lessor-cli
	scripts/build-release.sh --package lessor-bench

.PHONY: bench-bullmq
bench-bullmq: bench/drivers/bullmq/node_modules/.ready

.PHONY: bench-beanstalkd bench-jetstream bench-rabbitmq
bench-beanstalkd: bench-drivers
	scripts/unpack-debian.sh $(peers)/debian beanstalkd
bench-jetstream: bench-drivers
	scripts/unpack-debian.sh $(peers)/debian nats-server
bench-rabbitmq: bench-drivers
	scripts/unpack-debian.sh $(peers)/debian rabbitmq-server

.PHONY: bench-drivers
bench-drivers:
	CARGO_TARGET_DIR=$(target) cargo build --locked --release --manifest-path bench/drivers/rust/Cargo.toml

.PHONY: bench-faktory bench-asynq
bench-faktory:
	cd bench/drivers/go && go build -o $(peers)/go/ ./faktory && \
	  go build -o $(peers)/go/faktory-server github.com/contribsys/faktory/cmd/faktory
bench-asynq:
	cd bench/drivers/go && go build -o $(peers)/go/ ./asynq

.PHONY: deny
deny: $(tools)/bin/cargo-deny ## Check licences and origins of the dependencies
	$(tools)/bin/cargo-deny --locked check --hide-inclusion-graph bans licenses sources
	$(tools)/bin/cargo-deny --locked --manifest-path bench/drivers/rust/Cargo.toml --config deny.toml \
	  check --hide-inclusion-graph bans licenses sources

.PHONY: advisories
advisories: $(tools)/bin/cargo-deny ## Check the dependencies against the RustSec advisories
	$(tools)/bin/cargo-deny --locked check advisories

.PHONY: clean
clean: ## Remove what was built or installed here
	cargo clean
	rm -rf $(tools) $(peers) $(demo_venv) $(import_venv) $(python_sdk) $(target)/examples $(node_worker)/gen $(node_worker)/node_modules $(node_sdk)/dist $(node_sdk)/node_modules $(node_examples)/node_modules bench/drivers/bullmq/node_modules tests/import/writers/node_modules

.PHONY: redis
redis:
	scripts/install-redis.sh

# What the commands need. A stamp file is as old as the installation.

$(demo_venv)/.ready: demo/requirements.txt
	scripts/python-venv.sh $(demo_venv) $<
	touch $@

$(import_venv)/.ready: tests/import/requirements.txt
	scripts/python-venv.sh $(import_venv) $<
	touch $@

$(demo_venv)/.dev: demo/requirements-dev.txt $(demo_venv)/.ready
	$(demo_python) -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(python_sdk)/.ready: client-python/requirements-dev.txt client-python/pyproject.toml
	scripts/python-venv.sh $(python_sdk) $<
	$(python_sdk)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable client-python
	touch $@

# The client is installed as it is published: not the sources here.
$(example_documents)/.ready: $(wildcard examples/documents/requirements*.txt) client-python/pyproject.toml $(shell find client-python/src -name '*.py')
	rm -rf $(@D)
	$(MAKE) -C examples/documents install VENV=$(@D)

$(demo_venv)/.stubs: $(demo_venv)/.ready $(protos)
	scripts/python-stubs.sh $(demo_venv) proto
	touch $@

%/node_modules/.ready: %/package-lock.json
	npm ci --prefix $* --no-audit --no-fund
	touch $@

# The package as it is published, types included.
$(node_sdk)/dist/.built: $(node_sdk)/node_modules/.ready $(addprefix $(node_sdk)/,package.json tsconfig.json tsdown.config.ts) $(shell find $(node_sdk)/src -name '*.ts')
	npm run build --prefix $(node_sdk)
	touch $@

# They have the client as it is published.
$(node_examples)/node_modules/.ready: $(node_sdk)/dist/.built $(wildcard $(node_examples)/*/package.json)

$(node_worker)/gen/.stubs: $(node_worker)/node_modules/.ready $(node_worker)/buf.gen.yaml $(tools)/.npm $(protos)
	PATH="$(tools)/node_modules/.bin:$$PATH" npm run --prefix $(node_worker) generate
	touch $@

# No lock file: these tools depend on nothing but their own binaries, pinned to the same version.
$(tools)/.npm: scripts/tools/package.json
	mkdir -p $(tools)
	cp $< $(tools)
	npm install --prefix $(tools) --no-package-lock --no-audit --no-fund
	touch $@

$(go_tools): scripts/tools/go/go.mod scripts/tools/go/go.sum
	cd $(<D) && GOBIN=$(tools)/bin go install tool
	touch $@

$(tools)/.venv-ready: scripts/tools/requirements.txt
	scripts/python-venv.sh $(tools)/venv $<
	touch $@

# helm-unittest replaces a module that it needs, so it has a go.mod of ours instead of a version.
$(chart_tools): scripts/tools/helm/go.mod scripts/tools/helm/go.sum
	GOBIN=$(tools)/bin go install helm.sh/helm/v4/cmd/helm@$(helm_version)
	GOBIN=$(tools)/bin go install github.com/yannh/kubeconform/cmd/kubeconform@$(kubeconform_version)
	GOBIN=$(tools)/bin go install github.com/norwoodj/helm-docs/cmd/helm-docs@$(helm_docs_version)
	cd scripts/tools/helm && GOBIN=$(tools)/bin go install tool
	touch $@

$(schemas)/.ready: scripts/kube-schemas scripts/tools/helm/requirements.txt
	rm -rf $(schemas)
	scripts/python-venv.sh $(tools)/helm-venv scripts/tools/helm/requirements.txt
	$(tools)/helm-venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps \
	  --dest $(tools) kubernetes-validate==$(kubernetes_validate_version)
	$(tools)/helm-venv/bin/python scripts/kube-schemas \
	  $(tools)/kubernetes_validate-$(kubernetes_validate_version)-py3-none-any.whl 1.30,1.37 \
	  $(schemas) $(crd_modules)
	touch $@

# The protocol that it tests comes with it, in the folder of Go's modules.
$(tools)/bin/connectconformance:
	GOBIN=$(tools)/bin go install connectrpc.com/conformance/cmd/connectconformance@v$(conformance_version)

$(tools)/bin/cargo-deny:
	cargo install --locked --quiet --root $(tools) cargo-deny@$(cargo_deny_version)

$(tools)/bin/otelcol: $(wildcard tests/telemetry/otelcol/*)
	cd tests/telemetry/otelcol && go build -trimpath -ldflags="-s -w" -o $@ .
