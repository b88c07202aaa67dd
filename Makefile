PYTHON ?= python3
PORT ?= 8774
VAR ?= var
TESTS ?=
FUZZ_SECONDS ?= 60
TORTURE ?= 20
WORKERS ?= auto

# libvirt's Python binding is compiled, against libvirt's own library.
LIBVIRT := $(shell pkg-config --exists libvirt 2>/dev/null && echo ,libvirt)

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The version is in the stamp's name, so that another PYTHON gets another virtualenv.
MADE := .venv/made-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

# With COVERAGE=1 each run adds to what "make coverage" reports.
COVERAGE ?=
PYTEST := $(BIN)/python $(if $(COVERAGE),-m coverage run) -m pytest
PARALLEL := --numprocesses $(WORKERS) --dist loadgroup
export COVERAGE_FILE ?= $(CURDIR)/build/coverage/data

.PHONY: help serve test test-services test-all coverage torture lint lint-ruff lint-format lint-types lint-notes format docs diagrams bench fuzz clean
.DEFAULT_GOAL := help
.NOTPARALLEL:

help:
	@echo 'make serve    serve the sample pipeline on 127.0.0.1 (PORT=$(PORT)), its state below VAR=$(VAR)'
	@echo 'make test     run the tests that need no service (TESTS="-k attach tests/unit" chooses some)'
	@echo 'make test-services  run the tests that need databases, a broker, Keystone, Nova, libvirt or clients'
	@echo 'make test-all       run both; "make test-all COVERAGE=1 coverage" also reports the coverage'
	@echo 'make torture  kill and hammer for hours what "make test" does for minutes (TORTURE=$(TORTURE) times as much)'
	@echo 'make lint     ruff, mypy and reno: what CI checks before the tests'
	@echo 'make format   let ruff format the code and mend what it can'
	@echo 'make docs     make the documentation: build/docs/index.html'
	@echo 'make diagrams render docs/diagrams/*.dot to SVG, with graphviz'
	@echo 'make bench    run the benchmarks'
	@echo 'make fuzz     send hostile requests to the sample for FUZZ_SECONDS=$(FUZZ_SECONDS); FUZZ_SEED=... repeats them'
	@echo 'make clean    remove the virtualenv and all that was built; the state below VAR stays'
	@echo 'PYTHON=$(PYTHON) makes the virtualenv .venv; it has to be 3.11 or newer'

serve: .venv/serve
	@exec $(BIN)/os-volume-ext serve --paste etc/api-paste.ini --var "$(VAR)" --port "$(PORT)"

test: .venv/test
	$(PYTEST) $(PARALLEL) -m 'not service' $(TESTS)

test-services: .venv/test
	$(PYTEST) $(PARALLEL) -m service $(TESTS)

test-all: test test-services

coverage: .venv/test
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

torture: .venv/test
	TORTURE=$(TORTURE) PROTOCOL_EXAMPLES=$$((200 * $(TORTURE))) \
	    $(BIN)/python -m pytest -s tests/integration/torture tests/functional/test_protocol_stateful.py $(TESTS)

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

# From scratch, since Sphinx warns of a page only when it reads it.
docs: .venv/docs
	$(BIN)/python -m sphinx --quiet --fresh-env --nitpicky --fail-on-warning --keep-going -d build/doctrees docs build/docs

# Without the prolog, so that the pages can include the result, and without the version of graphviz.
diagrams:
	for source in docs/diagrams/*.dot; do \
	    dot -Tsvg "$$source" >"$${source%.dot}.raw" && \
	    sed -n -e '/^<!--/d' -e '/^<svg/,$$p' "$${source%.dot}.raw" >"$${source%.dot}.svg" && \
	    rm "$${source%.dot}.raw" || exit 1; \
	done

bench: .venv/test
	$(BIN)/python -m benchmarks

fuzz: .venv/test
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -rP tests/integration/fuzz

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp says what is installed; a larger set holds the smaller ones.
.venv/serve: $(MADE)
	$(PIP) --editable '.[serve]'
	@touch $@

.venv/docs: $(MADE)
	$(PIP) --editable '.[docs]'
	@touch $@

.venv/test: $(MADE)
	$(PIP) --editable '.[serve,keystone,metrics,mysql,notifications,postgresql,docs,test$(LIBVIRT)]'
	@touch .venv/serve .venv/docs $@

.venv/lint: $(MADE)
	$(PIP) --editable '.[serve,keystone,metrics,mysql,notifications,postgresql,docs,test,lint$(LIBVIRT)]'
	@touch .venv/serve .venv/docs .venv/test $@

$(MADE): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo 'os-volume-ext needs Python 3.11 or newer, and "$(PYTHON)" is not that; name one: make PYTHON=python3.11 ...' >&2; \
	    exit 1; }
	$(PYTHON) -m venv --clear .venv
	@touch $@
