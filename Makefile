# quickstart: trains small students on this machine and prints the board.   test: runs the whole test suite.
# Both make .venv first, from Python 3.11 or newer and the package registries (PYTHON=... says which Python).

RUNS_US := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$p -c "$(RUNS_US)" 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: quickstart test lint
.SILENT:

quickstart: $(READY)
	$(BIN)/harness run suites/quick.yaml

# One thread a worker: two workers with all cores each stand in each other's way.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

$(READY): pyproject.toml constraints.txt
	if ! $(or $(PYTHON),false) -c "$(RUNS_US)" 2>/dev/null; then \
		echo "kd-harness needs Python 3.11 or newer; found: $$($(or $(PYTHON),python3) --version 2>&1)." >&2; \
		echo "Say where one is: make PYTHON=/path/to/python3.11" >&2; \
		exit 2; \
	fi
	echo "Installing into .venv: some minutes, once." >&2
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
