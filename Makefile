# Everything here runs in a virtual environment that make builds itself: only Python 3.11 or newer and its venv are needed.
# PYTHON=python3.13 make test   takes another interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
RUN := $(VENV)/.run
DEV := $(VENV)/.dev
BENCH := $(VENV)/.bench
SEEDS ?= 1..100
MINUTES ?= 5
ROUNDS ?= 200

.DEFAULT_GOAL := help
.PHONY: help demo test test-compiled sim torture damage soak bench bench-quick bench-compiled lint types contracts reference picture docs build clean install dev

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(RUN) ## build the virtual environment .venv with kv and the agents in it
	@echo "make: $(VENV) is ready; '. $(BIN)/activate' puts kv on your path"

dev: $(DEV) ## the same, and what tests, checks and documentation need

$(RUN): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing; on Debian: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $$($(PYTHON) --version) is too old, 3.11 or newer is needed: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: Python's venv is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "make: building $(VENV), once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --editable '.[all]'
	@touch $@

$(DEV): $(RUN)
	@echo "make: adding what development needs, once; this takes a minute"
	@$(PIP) --editable '.[all,dev]'
	@touch $@

$(BENCH): $(RUN)
	@echo "make: adding the clients of the systems to compare with, once"
	@$(PIP) --editable '.[all,bench]'
	@touch $@

demo: $(RUN) ## three nodes and a 1-Wire bus, a cut link, a killed node; needs nothing else
	@$(BIN)/kv demo

test: $(DEV) ## all tests; those against a real counterpart only where it is installed
	@without=; \
	command -v owserver >/dev/null || { without="$$without and not owserver"; missing="$$missing owserver ow-shell"; }; \
	command -v systemd-analyze >/dev/null || { without="$$without and not systemd"; missing="$$missing systemd"; }; \
	[ -z "$$without" ] && exec $(BIN)/pytest; \
	echo "make: the tests against these Debian packages are left out, as they are missing:$$missing"; \
	exec $(BIN)/pytest -m "$${without# and }"

test-compiled: $(DEV) ## the tests of what is compiled, against the compiled modules
	@$(BIN)/python -m bench.compiled -m pytest -q tests/unit tests/property tests/contract tests/sim

sim: $(DEV) ## simulate random clusters, SEEDS=1..100, and check all laws
	@$(BIN)/python -m kvnode.testing.sim --seeds $(SEEDS)

torture: $(DEV) ## real nodes under load, killed and cut off for MINUTES=5; with namespaces if run as root
	@$(BIN)/python -m kvnode.testing.torture --minutes $(MINUTES)

damage: $(DEV) ## real nodes whose stores are broken, ROUNDS=200 times: do they heal?
	@$(BIN)/python -m kvnode.testing.damage_run --rounds $(ROUNDS)

soak: $(DEV) ## real nodes under load and churn for MINUTES=5: does anything grow?
	@$(BIN)/python -m kvnode.testing.soak --minutes $(MINUTES)

bench: $(BENCH) ## measure side by side with redis, nats, etcd, mosquitto, where installed; half an hour
	@$(BIN)/python -m bench $(ARGS)

bench-quick: $(BENCH) ## the same in one short round
	@$(BIN)/python -m bench --quick $(ARGS)

bench-compiled: $(BENCH) $(DEV) ## bench, with kvnode compiled by mypyc; needs gcc and Python's headers
	@$(BIN)/python -m bench.compiled -m bench $(ARGS)

lint: $(DEV) ## style and likely bugs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(DEV) ## mypy, strict
	@$(BIN)/mypy

contracts: $(DEV) ## directions of import
	@PYTHONPATH=agents $(BIN)/lint-imports --no-logo

reference: $(DEV) ## write docs/reference/config.md from the schema, cli.md from the commands
	@$(BIN)/python docs/make_reference.py
	@$(BIN)/python docs/generate_cli.py

picture: $(DEV) ## run the demo and draw what it printed: docs/demo.svg, the picture in the README
	@$(BIN)/python docs/make_picture.py

docs: $(DEV) ## the documentation as a site in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

build: $(DEV) ## wheel and source archive in dist/
	@$(BIN)/python -m build --no-isolation

clean: ## remove what was built, the virtual environment too
	@rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
