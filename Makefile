# execintel: every command a person or a machine needs. `make` alone explains them.
# Everything runs from .venv, which holds exactly requirements.lock; nothing else has to be installed.

PYTHON ?= python3
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
# A new top-level package must be known to the installed project, so its appearance installs again.
PACKAGES := $(wildcard pipelines/__init__.py features/__init__.py live/__init__.py dashboard/__init__.py)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test lint format up bench soak lock clean

export DAGSTER_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## this list
	@echo "execintel turns the logs of a trading router into execution intelligence. Start with: make demo"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make demo LOGS=dir     the same with your own logs; they are only read"
	@echo "  make test ARGS=…       more for pytest, such as ARGS='-k intake -x'"
	@echo "  make bench ARGS=…      more for the benchmarks; ARGS=--help lists it"
	@echo "  PYTHON=python3.12      another Python for .venv (3.11 or later)"
	@echo
	@echo "The first command makes .venv (one to three minutes). After that the program itself is $(BIN)/execintel --help"

demo: $(READY) ## trade a simulated week on paper, compute every table of it, publish a snapshot, show it
	@$(if $(filter command,$(firstword $(origin logs))),$(error LOGS is written in capitals: make demo LOGS=$(logs)))
	@$(BIN)/execintel demo $(if $(LOGS),--logs "$(LOGS)")

test: lint ## what CI runs: ruff, format, mypy, import directions, then pytest with warnings as errors
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(READY) ## the first four of them
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY) ## let ruff format the code and mend what it safely can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

up: $(READY) ## run schedule, Dagster's pages and the dashboard on this machine until Ctrl-C
	@exec $(BIN)/execintel up

bench: $(READY) ## the measurements, as ratios within one run
	@$(BIN)/python -m benchmarks $(ARGS)

soak: $(READY) ## the campaigns of many minutes that make test leaves out
	@$(BIN)/python -m pytest -m soak -o faulthandler_timeout=3600 $(ARGS)

lock: ## resolve pyproject.toml anew into requirements.lock (ARGS=--upgrade for newer versions)
	@command -v "$(UV)" >/dev/null || { \
	  echo "make lock needs uv, which resolves for every platform at once: pip install uv, or make lock UV=/path/to/uv" >&2; \
	  exit 1; }
	@# Without the extras in its names an older pip refuses the hashes; addresses belong to the machine, not the lock.
	@"$(UV)" pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev \
	  --no-emit-index-url --no-emit-find-links --no-header --no-strip-extras --no-annotate \
	  --output-file requirements.lock $(ARGS) pyproject.toml
	@echo "requirements.lock holds $$(grep -c '==' requirements.lock) pinned versions"

clean: ## remove .venv, caches and builds; data/ stays
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './data/*' -prune -exec rm -rf {} +

# The project itself comes after its locked requirements: pip refuses an editable install among hashes.
$(READY): requirements.lock pyproject.toml $(PACKAGES)
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "execintel needs Python 3.11 or later; there is no $(PYTHON) on the path. Name one: make PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "execintel needs Python 3.11 or later; $(PYTHON) is $$("$(PYTHON)" -V 2>&1). Name another: make PYTHON=python3.12" >&2; \
	  exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
	  exit 1; }
	@echo "installing requirements.lock into $(VENV): one to three minutes"
	@"$(PYTHON)" -m venv $(VENV)
	@# The lock names all there is: nothing is resolved, but checked. Bytecode is made on every processor; a
	@# file that is no module of this Python is left as it is, as pip leaves it.
	@$(BIN)/python -m pip install --quiet --no-deps --no-compile --require-hashes -r requirements.lock
	@$(BIN)/python -m compileall -qq -j 0 --invalidation-mode timestamp $(VENV)/lib || true
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@broken=$$($(BIN)/python -m pip check) || { echo "$$broken" >&2; exit 1; }
	@touch $@
