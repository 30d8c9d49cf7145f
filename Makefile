# pgsched from a fresh clone. Needed: Python >= 3.11 with venv, make, and a package index.
# Another Python: PYTHON=python3.12 make test

PYTHON ?= python3
JOBS   ?= 4
TESTS  ?= $(wildcard tests/unit tests/spec tests/deploy tests/upgrades tests/integration tests/e2e tests/web tests/chaos)
ARGS   ?=
TRIALS ?=

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip install --quiet
UV   := uv==0.13.9

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_PROGRESS_BAR := off
# Unset, whatever the machine says: each of the thousand processes that the tests start would compile pgsched anew.
export PYTHONDONTWRITEBYTECODE :=

# The interpreter's version is part of the stamps' names: another PYTHON makes the environment anew.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
MADE    := $(VENV)/.made-with-$(VERSION)
RUN     := $(VENV)/.run-$(VERSION)
DEV     := $(VENV)/.dev-$(VERSION)
BENCH   := $(VENV)/.bench-$(VERSION)
BROWSER := $(VENV)/.browser-$(VERSION)
DOCS    := $(VENV)/.docs-$(VERSION)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: run test test-browser test-agents test-generated lint format sync bench chaos chaos-peers docs docs-site docs-serve schema lock clean help

run: $(RUN) ## Start an embedded PostgreSQL, a worker and a demonstration to look at
	exec $(BIN)/pgsched dev --demo

test: $(DEV) ## Run every test but the long chaos ones (fewer: TESTS=tests/unit, options: ARGS="-k cron")
	@sh tests/deploy/install-prometheus.sh $(BIN)
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "not long" $(ARGS) $(TESTS)

test-browser: $(BROWSER) $(DOCS) ## Test the dashboard and the documentation site in Chromium (apt-get installs chromium and npm where they are missing)
	@sh tests/browser/install.sh
	@sh tools/docs_site/install.sh
	$(BIN)/pytest -n $(JOBS) --dist worksteal $(ARGS) tests/browser

test-agents: $(DEV) ## Plant twenty faults and let an agent-like script find them by the tools of pgsched mcp
	$(BIN)/pytest -s $(ARGS) tests/e2e/test_mcp_faults.py

test-generated: $(DEV) ## Compile generated clients and run them (apt-get installs Go and npm where they are missing)
	@sh tests/generated/install.sh
	$(BIN)/pytest $(ARGS) tests/generated

lint: $(DEV) ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.generate_sync --check

format: $(DEV) ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

sync: $(DEV) ## Write the modules for threads again from those for event loops (async_*.py)
	$(BIN)/python -m tools.generate_sync

bench: $(BENCH) ## Measure beside peers and against targets, long; a short look: ARGS=--quick
	$(BIN)/python -m benchmarks $(ARGS)

chaos: $(DEV) ## Break pgsched in every way (options: TRIALS="--seed 7"), then the long tests: REST API, kills
	@sh chaos/install.sh
	$(BIN)/python -m chaos $(TRIALS)
	$(BIN)/pytest -m long $(ARGS) $(TESTS)

chaos-peers: $(BENCH) ## Do some of it to PgQueuer and Procrastinate too, five minutes (options: TRIALS="--seed 7")
	$(BIN)/python -m chaos --peers $(TRIALS)

docs: $(DEV) ## Write what is generated again: docs/reference_*.md, docs/dst_conformance.md, the alert rules for Kubernetes
	$(BIN)/python -m tools.docs
	$(BIN)/python -m tools.dst_conformance
	$(BIN)/python -m tools.prometheusrule

docs-site: $(DOCS) ## Build the documentation site into site/; a warning or a broken link fails it (list other sites: ARGS=--external)
	@sh tools/docs_site/install.sh
	$(BIN)/python -m tools.docs_site build $(ARGS)

docs-serve: $(DOCS) ## Show the documentation site at 127.0.0.1:8000, and build it again when a page changes
	@sh tools/docs_site/install.sh
	$(BIN)/python -m tools.docs_site serve $(ARGS)

schema: $(DEV) ## Write what is generated from the migrations again: sql/schema.sql, what the doctor compares with
	$(BIN)/python -m tools.schema_book
	$(BIN)/python -m tools.schema_parts

lock: $(MADE) ## Write requirements/*.txt from pyproject.toml (newest versions: ARGS=--upgrade)
	$(BIN)/python -m venv --clear $(VENV)/lock
	$(VENV)/lock/bin/python -m pip install --quiet $(UV)
	$(COMPILE) --output-file requirements/run.txt $(RUN_SOURCES)
	$(COMPILE) --output-file requirements/dev.txt --constraint requirements/run.txt --group dev $(RUN_SOURCES)
	$(COMPILE) --output-file requirements/bench.txt --constraint requirements/dev.txt --group bench
	$(COMPILE) --output-file requirements/browser.txt --constraint requirements/dev.txt --group browser
	$(COMPILE) --output-file requirements/docs.txt --constraint requirements/dev.txt --group docs

COMPILE     = $(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
              --no-config --custom-compile-command "make lock" $(ARGS)
RUN_SOURCES = --extra embedded --extra web --extra mcp --extra oidc --extra top --extra otel pyproject.toml requirements/build.in

clean: ## Remove the environment, caches and what was built (the data of `pgsched dev` stays)
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis tests/browser/node/node_modules tools/docs_site/node/node_modules \
	  tests/generated/node/node_modules tests/generated/node/build
	find pgsched tests benchmarks chaos tools -type d -name __pycache__ -prune -exec rm -rf {} +

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# One environment. A stamp is older than the file it depends on only when that file changed, so a second call installs
# nothing. The project is installed without build isolation and without dependencies: everything comes from the lock.
$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "pgsched needs Python 3.11 or newer, but $(PYTHON) is $(or $(VERSION),not there). Try: PYTHON=python3.12 make ..." >&2; \
	  exit 1; }
	@echo "Making $(VENV) with $(PYTHON) (Python $(VERSION))"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(RUN): $(MADE) requirements/run.txt pyproject.toml
	@echo "Installing pgsched and requirements/run.txt into $(VENV)"
	@$(PIP) --require-hashes -r requirements/run.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# The development lock holds the other one, so this makes both stamps.
$(DEV): $(MADE) requirements/dev.txt pyproject.toml
	@echo "Installing pgsched and requirements/dev.txt into $(VENV)"
	@$(PIP) --require-hashes -r requirements/dev.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $(RUN) $@

# The peers that the benchmark runs beside pgsched, in the same environment.
$(BENCH): $(DEV) requirements/bench.txt
	@echo "Installing requirements/bench.txt into $(VENV)"
	@$(PIP) --require-hashes -r requirements/bench.txt
	@touch $@

# What leads a browser, in the same environment; the browser itself is Debian's.
$(BROWSER): $(DEV) requirements/browser.txt
	@echo "Installing requirements/browser.txt into $(VENV)"
	@$(PIP) --require-hashes -r requirements/browser.txt
	@touch $@

# What builds the documentation site, in the same environment; install.sh brings the script that draws diagrams.
$(DOCS): $(DEV) requirements/docs.txt
	@echo "Installing requirements/docs.txt into $(VENV)"
	@$(PIP) --require-hashes -r requirements/docs.txt
	@touch $@
