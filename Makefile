# make run    set everything up and run the main job; the result is in out/
# make up     the whole service in the foreground, until Ctrl-C
# make test   all tests        make check   format, lints, types, import contracts
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP_FLAGS ?= --quiet --disable-pip-version-check

export PYTHONUNBUFFERED := 1

.PHONY: setup run up test check
.DEFAULT_GOAL := run

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml client/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "imagemill needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "installing into $(VENV) (some minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[embedded,dev]' -e client
	@touch $@

# `exec`: no shell stands between make and the program, so that signals reach it.
run: $(INSTALLED)
	@exec $(BIN)/python -m deploy.run_example

up: $(INSTALLED)
	@exec $(BIN)/python -m deploy.embedded

test: $(INSTALLED)
	@exec $(BIN)/python -m pytest $(TESTS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
