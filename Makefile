# quickstart: trains small students on this machine and prints the board.   test: runs all tests.   lint: static checks.
# All create .venv first; this needs Python 3.11 or newer (PYTHON=... selects one) and the package registries.

VERSION_CHECK := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$p -c "$(VERSION_CHECK)" 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# Python compiles what it imports; compiling all of torch and transformers would take a minute.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --no-compile

# What `harness` needs, and what the tests need in addition.
RUNTIME := .venv/.runtime
DEV := .venv/.dev

# The wheels of torch for Linux on the package index bring CUDA libraries of several GB. Without an NVIDIA GPU, the CPU
# build is installed instead: from the index that pip is configured with, if it has that build, else from TORCH_INDEX.
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
NEEDS_CPU_TORCH := [ "$$(uname -s)" = Linux ] && ! nvidia-smi -L 2>/dev/null | grep -q GPU

.PHONY: quickstart test test-lowest docs lint
.SILENT:

# Without compiled files, each process would compile the harness and, after an installation without them, torch again.
unexport PYTHONDONTWRITEBYTECODE

quickstart: $(RUNTIME)
	$(BIN)/harness run suites/quick.yaml

# One thread per worker: workers that each use all cores slow each other down. loadgroup: tests with one expensive fixture
# run in one worker.
test: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadgroup

# The documentation site, in build/site.
docs: $(DEV)
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

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

$(RUNTIME): pyproject.toml constraints.txt
	if ! $(or $(PYTHON),false) -c "$(VERSION_CHECK)" 2>/dev/null; then \
		echo "kd-harness needs Python 3.11 or newer; found: $$($(or $(PYTHON),python3) --version 2>&1)." >&2; \
		echo "Name its path: make PYTHON=/path/to/python3.11" >&2; \
		exit 2; \
	fi
	$(PYTHON) -m venv .venv
	if $(NEEDS_CPU_TORCH); then \
		echo "Installing torch $(TORCH) for the CPU into .venv, once" >&2; \
		$(INSTALL) --no-deps --retries 1 'torch==$(TORCH)+cpu' 2>/dev/null \
		|| $(INSTALL) --no-deps --retries 1 --timeout 15 --index-url '$(TORCH_INDEX)' 'torch==$(TORCH)' \
		|| echo "No CPU build of torch found; the next step installs the build of the package index." >&2; \
	fi
	echo "Installing kd-harness and the packages that it needs into .venv, once" >&2
	$(INSTALL) -c constraints.txt -e .
	touch $@

$(DEV): $(RUNTIME)
	echo "Installing the tools of the tests into .venv" >&2
	$(INSTALL) -q -c constraints.txt -e '.[dev]'
	touch $@
