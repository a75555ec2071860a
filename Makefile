# Meterline. Running and testing need Rust, a C compiler and this; what the other
# targets need, they install (scripts/tools.sh).

# The local system: where it keeps its state, and its ports (0 picks a free one).
LOCAL_DIR       ?= .local
METERLINE_PORT  ?= 8080
DYNAMODB_PORT   ?= 8000
STRIPE_PORT     ?= 12111
# make run EXIT=1 leaves after the story.
EXIT            ?=
# make bench QUICK=1: a little of everything, to see that it works.
QUICK           ?=
# What the functions are built for: arm64 or x86_64.
ARCH            ?= $(subst aarch64,arm64,$(shell uname -m))
export LOCAL_DIR METERLINE_PORT DYNAMODB_PORT STRIPE_PORT

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/target/tools/bin:$(PATH)

FUNCTIONS := onboarding emission report webhook rollup redelivery
TARGET    := $(or $(CARGO_TARGET_DIR),target)
LOCAL     := $(TARGET)/debug/meterline-local

EVERYTHING    := --workspace --bins --tests --examples
# $(call build_of,-p PACKAGE…): its programs. With the local system's, since that has the features
# of the whole workspace: a package by itself has other features of its dependencies, so they
# would all compile again.
build_of      = cargo build --bins -p stack $(1)

# The crates whose documentation may have examples: to look for some in all of them takes minutes.
DOC_TESTED := agent anthropic-simulator meterline-client stripe stripe-simulator

.DEFAULT_GOAL := help
.PHONY: help nightly build run serve scenario breakage bench scale soak prices clean-local test e2e conformance deploy-test check lambda-build lambda-zips lambda-roundtrip sam-validate sam-build

help: ## Say what there is
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1|/' | \
	    while IFS='|' read -r target does; do printf '  make %-17s %s\n' "$$target" "$$does"; done

# Started as it is, not by `cargo run`: Ctrl-C then reaches the system alone.
build: ## Build the local system and its programs
	$(call build_of,-p agent -p meterline-cli)

run: build ## Start the whole system and play the story (EXIT=1: leave after it; USAGE_API=)
	$(LOCAL) run $(if $(filter-out 0,$(EXIT)),--exit)

serve: build ## Start the whole system
	$(LOCAL) serve

# Against Stripe itself, in test mode; the key is read from the environment.
scenario: build ## Play the story against real Stripe with a test key (STRIPE_SECRET_KEY=sk_test_… USAGE_API=)
	$(LOCAL) scenario

breakage: build ## Play the nightly-batch disaster against a batch and against Meterline
	$(LOCAL) breakage

# The functions are built as for Lambda, for their cold start; the system is
# built to be measured, see the profile in Cargo.toml.
BENCH_PYTHON := $(TARGET)/bench-python
IS_QUICK := $(filter-out 0,$(QUICK))
bench: ## Measure speed into docs/benchmarks.md (QUICK=1: a smoke run, prints only)
	cargo build --profile measured -p benches
ifeq ($(IS_QUICK),)
	scripts/tools.sh lambda
	for function in $(FUNCTIONS) hello-function; do \
	    cargo lambda build --release --locked --$(subst _,-,$(ARCH)) -p $$function; \
	done
endif
	test -x $(BENCH_PYTHON)/bin/python || { python3 -m venv $(BENCH_PYTHON) && \
	    $(BENCH_PYTHON)/bin/pip install --quiet stripe==16.1.0; } || rm -rf $(BENCH_PYTHON)
	$(TARGET)/measured/bench --functions $(TARGET)/lambda --python $(BENCH_PYTHON)/bin/python \
	    $(if $(IS_QUICK),--quick,--page docs/benchmarks.md)

.PHONY: dashboards
dashboards: ## Measure 200 open dashboards under load (QUICK=1: a smoke run)
	cargo build --profile measured -p benches
	$(TARGET)/measured/bench --only dashboards $(if $(IS_QUICK),--quick)

scale: ## Reckon large loads, their limits and cost, into docs/scale.md
	cargo run --quiet -p scale -- --write

clean-local: ## Empty the local state
	rm -rf "$(LOCAL_DIR)"

# Programs and tests together, so that both have the same features of what they depend on,
# and nothing compiles twice.
test: ## Run all tests
	cargo build $(EVERYTHING)
	outcome=0; \
	if cargo nextest --version >/dev/null 2>&1; then \
	    cargo nextest run --workspace --no-fail-fast || outcome=1; \
	else \
	    cargo test --workspace --tests --no-fail-fast || outcome=1; \
	fi; \
	cargo test --doc -p stack $(DOC_TESTED:%=-p %) || outcome=1; \
	exit "$$outcome"

.PHONY: openapi
openapi: ## Write openapi.json, the API's description, from the code
	$(call build_of,-p api-document)
	$(TARGET)/debug/openapi > $(TARGET)/openapi.json
	mv $(TARGET)/openapi.json openapi.json

# Two releases of Stripe's SDK, each in an environment of its own.
SDKS := newest acacia
E2E := conformance api-test terminal-test client-test browser-test deploy-test
e2e: $(E2E) ## All of the next six

.PHONY: e2e-parts
e2e-parts:
	@echo $(E2E)

conformance: ## Drive the Stripe simulator with Stripe's own Python SDK (FIELDS=update: write its field lists)
	scripts/tools.sh conformance
	$(call build_of,-p stripe-simulator -p conformance)
	if [ -n "$${STRIPE_FIXTURES:-}" ]; then cargo test --workspace --test simulator -- --ignored fixtures; fi
	for sdk in $(SDKS); do \
	    CONFORMANCE_PROGRAMS=$(TARGET)/debug PYTHONDONTWRITEBYTECODE=1 \
	        target/conformance/$$sdk/bin/python -m pytest tests/conformance/suite -c tests/conformance/pytest.ini \
	        --quiet $(if $(FIELDS),--update-fields); \
	done

.PHONY: api-test
api-test: ## Make requests from openapi.json, and hold the answers against it (EXAMPLES=1000 SEED=)
	scripts/tools.sh api
	$(call build_of,-p meterline-cli)
	API_EXAMPLES=$(EXAMPLES) API_SEED=$(SEED) API_PROGRAMS=$(TARGET)/debug PYTHONDONTWRITEBYTECODE=1 \
	    target/conformance/api/bin/python -m pytest tests/api/suite -c tests/api/pytest.ini --quiet

.PHONY: terminal-test
terminal-test: ## Look at `meterline status` in a terminal, while usage comes in
	scripts/tools.sh terminal
	$(call build_of,-p meterline-cli)
	TERMINAL_PROGRAMS=$(TARGET)/debug PYTHONDONTWRITEBYTECODE=1 \
	    target/conformance/terminal/bin/python -m pytest tests/terminal/suite -c tests/terminal/pytest.ini --quiet

CLIENT_PYTHON := $(CURDIR)/target/conformance/clients/bin/python
.PHONY: client-test client-check client-bench
client-test: ## Play every client's conformance cases with faults on, and count; then the clients' own tests (CLIENTS="python typescript")
	scripts/tools.sh clients
	$(call build_of,-p meterline-cli -p anthropic-simulator -p agent)
	$(call build_of,--examples -p meterline-client)
	cd clients/python && PYTHONDONTWRITEBYTECODE=1 $(CLIENT_PYTHON) -m pytest --quiet
	cd clients/typescript && npm run --silent build && npm test --silent
	cd examples/typescript && npm run --silent build
	CLIENTS="$(CLIENTS)" CLIENT_PROGRAMS=$(TARGET)/debug PYTHONDONTWRITEBYTECODE=1 \
	    $(CLIENT_PYTHON) -m pytest tests/clients/suite -c tests/clients/pytest.ini --quiet --numprocesses 4

client-check: ## Check the clients' format, lints and types, and that their packages install
	scripts/tools.sh clients
	scripts/check-rust-client.sh
	scripts/check-python-client.sh
	cd clients/typescript && npm run --silent check
	cd examples/typescript && npm run --silent check

CLIENT_BENCH := $(abspath $(TARGET))/client-bench.md
client-bench: ## Measure what the clients cost beside raw HTTP into docs/benchmarks.md (QUICK=1: a smoke run, prints only)
	scripts/tools.sh clients
	cargo build --profile measured -p meterline-client --example overhead
	echo "Taken $$(date -u +%Y-%m-%dT%H:%MZ)." | tee $(CLIENT_BENCH)
	printf '\n### Rust\n\n' | tee -a $(CLIENT_BENCH)
	$(TARGET)/measured/examples/overhead $(if $(IS_QUICK),--quick) | tee -a $(CLIENT_BENCH)
	printf '\n### Python\n\n' | tee -a $(CLIENT_BENCH)
	cd clients/python && PYTHONPATH=src $(CLIENT_PYTHON) bench/overhead.py $(if $(IS_QUICK),--quick) | tee -a $(CLIENT_BENCH)
	printf '\n### TypeScript\n\n' | tee -a $(CLIENT_BENCH)
	cd clients/typescript && npm run --silent bench -- $(if $(IS_QUICK),--quick) | tee -a $(CLIENT_BENCH)
ifeq ($(IS_QUICK),)
	scripts/into_page.py docs/benchmarks.md clients < $(CLIENT_BENCH)
endif

.PHONY: browser-test
browser-test: ## Look at the dashboard with a real Chromium; pictures into target/screenshots
	scripts/tools.sh browser
	$(call build_of)
	BROWSER_PROGRAMS=$(TARGET)/debug node --test tests/browser/suite/

# The functions must be of this machine's architecture.
deploy-test: sam-build ## Deploy to an AWS on this machine, play the story there, and deploy again under load (PAGE=1: figures into docs/benchmarks.md)
	scripts/tools.sh ministack
	$(call build_of,-p deploy-test -p agent -p meterline-cli)
	$(TARGET)/debug/deploy-test $(if $(filter-out 0,$(PAGE)),--page docs/benchmarks.md)

# The profile of `make bench`: optimised, and built once for both.
soak: ## Simulate the system under faults, and count (EVENTS=1000000 SEED= PLANT= BATCH= CALLS= USAGE_API=)
	cargo build --profile measured -p soak
	$(TARGET)/measured/soak --events $(or $(EVENTS),100000) $(SEED:%=--seed %) $(PLANT:%=--plant %)

prices: ## Bill random prices and usage, and compare with Stripe's figures (PAIRS=10000 SEED=)
	PAIRS=$(or $(PAIRS),10000) SEED=$(SEED) cargo test --workspace --test prices -- --nocapture

check: client-check ## Check format, lints, dependencies and licences
	scripts/tools.sh lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo-deny --locked check --hide-inclusion-graph bans licenses sources
	scripts/advisories.sh
	cargo-machete
	scripts/same-features.sh $(FUNCTIONS)

# By default SAM leaves the gradual deployment out, and `sam validate` reads the template
# as it is written. So cfn-lint also gets what SAM makes of it, without and with one; of
# the parameter that decides it nothing is left there (W2001).
sam-validate: ## Check template.yaml: sam, cfn-lint, and checkov for its security
	scripts/tools.sh lambda
	scripts/tools.sh template
	AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0 sam validate --lint
	for gradual in false true; do \
	    AWS_DEFAULT_REGION=us-east-1 .venv/bin/python scripts/sam_translate.py template.yaml GradualDeployment=$$gradual \
	        >target/translated.json; \
	    cfn-lint --regions us-east-1 --ignore-checks W2001 --template target/translated.json; \
	done
	target/checkov/bin/checkov --file template.yaml --config-file .checkov.yaml

# All functions at once, so that their links, which take longest, go side by side. `sam build`
# compiles each by itself, and finds it compiled: they have the same features of all that they
# share (scripts/same-features.sh).
build_functions = cargo lambda build --release --locked --$(subst _,-,$(ARCH)) $(FUNCTIONS:%=-p %)

lambda-build: ## Build the functions for Lambda (ARCH=arm64|x86_64)
	scripts/tools.sh lambda
	$(build_functions) --output-format zip

sam-build: ## Build what sam deploy takes, into .aws-sam (ARCH=arm64|x86_64)
	scripts/tools.sh lambda
	$(build_functions)
	SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 sam build --parameter-overrides Architecture=$(ARCH)

lambda-zips: lambda-build ## Check that every function's zip is under 6 MB
	scripts/lambda-zips.sh $(FUNCTIONS)

lambda-roundtrip: ## Run every function under cargo lambda watch: sample events, and the same answers as in one process
	scripts/tools.sh lambda
	cargo build --workspace --bins
	scripts/lambda-roundtrip.sh

nightly: ## Run what takes too long for every commit, results to docs/nightly.md (STAGES="ci arm64 sam-local api prices soak bench client-bench dashboards")
	STAGES="$(STAGES)" scripts/nightly.sh
