# Every target does its own set-up in .venv; nothing but Python 3.11-3.13 and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOG := $(VENV)/install.log
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --progress-bar off

# run a step of the set-up with its output in the log; when it fails, show the end and say what to do
quietly = { $(1); } >>$(LOG) 2>&1 || \
	{ grep -vE '^(WARNING|Ignoring|Looking)' $(LOG) | tail -n 10; echo; \
	echo "The set-up failed; the lines above end $(LOG)."; echo "$(2), then run make again."; exit 1; }

# tests run in this many processes, a file at a time
JOBS ?= 2

.PHONY: run test lint check bench proof format clean help

help: ## what each target does
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v=sys.version_info; sys.exit(0 if (3,11)<=v<(3,14) else "Python 3.11, 3.12 or 3.13 is needed, this is %d.%d. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" % v[:2])'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "The venv module is missing. On Debian or Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@echo "Setting up (once, some minutes); the details are in $(LOG)"
	@echo "1/3 making $(VENV) ..."
	@mkdir -p $(VENV) && : >$(LOG)
	@$(call quietly,$(PYTHON) -m venv $(VENV),Free some space or delete $(VENV))
	@echo "2/3 installing $$(grep -c '==' requirements.lock) packages from requirements.lock (about 1 GB, needs a Python package index) ..."
	@$(call quietly,$(PIP) --requirement requirements.lock,Check the network and the index ($(BIN)/python -m pip config list; PIP_INDEX_URL names another))
	@echo "3/3 installing the agent ..."
	@$(call quietly,$(PIP) --no-deps --editable .,Check the network and the index (the build needs it too))
	@touch $(STAMP)

run: $(STAMP) ## the demo: the whole path on this machine
	@$(BIN)/agent demo

test: $(STAMP) ## the test suite (all that is not marked slow)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(STAMP) ## format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

check: lint test ## what CI checks

bench: $(STAMP) ## the benchmarks, short
	@$(BIN)/python -m benchmarks all

proof: $(STAMP) ## the long proofs at full figures; JSON in proof/
	@AGENT_TEST_PROOF=1 $(BIN)/python -m pytest -m slow --timeout=7200 tests

format: $(STAMP) ## format and sort
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove what the targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist *.egg-info
