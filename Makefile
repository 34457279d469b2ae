# quickstart: trains small students on this machine and prints the board.   test: runs all tests.   lint: static checks.
# All create .venv first; this needs Python 3.11 or newer (PYTHON=... selects one) and the package registries.

VERSION_CHECK := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$p -c "$(VERSION_CHECK)" 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
INSTALLED := .venv/.ready

.PHONY: quickstart test test-lowest docs lint
.SILENT:

quickstart: $(INSTALLED)
	$(BIN)/harness run suites/quick.yaml

# One thread per worker: workers that each use all cores slow each other down. loadgroup: tests with one expensive fixture
# run in one worker.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadgroup

# The documentation site, in build/site.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The tests of what other packages are used for, with the lowest versions of them that pyproject.toml allows. PINS sets other
# versions, also excluded ones: make test-lowest PINS='transformers==5.10.* torch==2.9.*'
LOWEST := .venv-lowest
LOWEST_TESTS ?= tests/api tests/config tests/metrics tests/models tests/storage tests/tasks
test-lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install -q --disable-pip-version-check uv
	printf '%s\n' $(PINS) > $(LOWEST)/overrides.txt
	$(LOWEST)/bin/uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct \
		--overrides $(LOWEST)/overrides.txt -e '.[test]'
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -q -n auto --maxprocesses 4 --dist loadgroup $(LOWEST_TESTS)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

$(INSTALLED): pyproject.toml constraints.txt
	if ! $(or $(PYTHON),false) -c "$(VERSION_CHECK)" 2>/dev/null; then \
		echo "kd-harness needs Python 3.11 or newer; found: $$($(or $(PYTHON),python3) --version 2>&1)." >&2; \
		echo "Name its path: make PYTHON=/path/to/python3.11" >&2; \
		exit 2; \
	fi
	echo "Installing into .venv. This takes some minutes, once." >&2
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
