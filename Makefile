PYTHON ?= python3
PORT ?= 8774
VAR ?= var
TESTS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The version is in the stamp's name, so that another PYTHON gets another virtualenv.
MADE := .venv/made-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

.PHONY: help serve test lint lint-ruff lint-format lint-types lint-notes format bench clean
.DEFAULT_GOAL := help
.NOTPARALLEL:

help:
	@echo 'make serve    serve the sample pipeline on 127.0.0.1 (PORT=$(PORT)), its state below VAR=$(VAR)'
	@echo 'make test     run the tests (TESTS="-k attach tests/unit" chooses some)'
	@echo 'make lint     ruff, mypy and reno: what CI checks before the tests'
	@echo 'make format   let ruff format the code and mend what it can'
	@echo 'make bench    run the benchmarks'
	@echo 'make clean    remove the virtualenv and all that was built; the state below VAR stays'
	@echo 'PYTHON=$(PYTHON) makes the virtualenv .venv; it has to be 3.11 or newer'

serve: .venv/serve
	@exec $(BIN)/os-volume-ext serve --paste etc/api-paste.ini --var "$(VAR)" --port "$(PORT)"

test: .venv/test
	$(BIN)/python -m pytest $(TESTS)

lint: lint-ruff lint-format lint-types lint-notes

lint-ruff: .venv/lint
	$(BIN)/ruff check

lint-format: .venv/lint
	$(BIN)/ruff format --check

lint-types: .venv/lint
	$(BIN)/mypy

lint-notes: .venv/lint
	$(BIN)/reno lint

format: .venv/lint
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: .venv/test
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp says what is installed; a larger set holds the smaller ones.
.venv/serve: $(MADE)
	$(PIP) --editable '.[serve]'
	@touch $@

.venv/test: $(MADE)
	$(PIP) --editable '.[serve,keystone,mysql,postgresql,test]'
	@touch .venv/serve $@

.venv/lint: $(MADE)
	$(PIP) --editable '.[serve,keystone,mysql,postgresql,test,lint]'
	@touch .venv/serve .venv/test $@

$(MADE): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo 'os-volume-ext needs Python 3.11 or newer, and "$(PYTHON)" is not that; name one: make PYTHON=python3.11 ...' >&2; \
	    exit 1; }
	$(PYTHON) -m venv --clear .venv
	@touch $@
