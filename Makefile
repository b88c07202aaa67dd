PYTHON ?= python3
PORT ?= 8774
VAR ?= var
TESTS ?=
FUZZ_SECONDS ?= 60
TORTURE ?= 20
MODULES ?=
AGAIN ?=
BENCHMARKS ?=
ROWS ?= 1000 100000 1000000 10000000
SECONDS ?= 1
# One more than cores, since some tests mostly wait.
WORKERS ?= $(shell expr $$(nproc) + 1)

# libvirt-python is compiled, so the extra is installed only if libvirt's headers are.
LIBVIRT := $(shell pkg-config --exists libvirt 2>/dev/null && echo ,libvirt)

BIN := .venv/bin
INSTALL := @$(BIN)/python tools/install_extras.py
# The stamp's name contains the version, so that another PYTHON creates the virtualenv again.
MADE := .venv/made-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

# With COVERAGE=1 each run adds its data to what "make coverage" reports.
COVERAGE ?=
PYTEST := $(BIN)/python $(if $(COVERAGE),-m coverage run) -m pytest
PARALLEL := --numprocesses $(WORKERS)
export COVERAGE_FILE ?= $(CURDIR)/build/coverage/data

.PHONY: help serve test test-services test-all coverage torture mutants lint lint-ruff lint-format lint-types lint-notes format docs diagrams bench bench-instructions bench-scale fuzz clean
.DEFAULT_GOAL := help
.NOTPARALLEL:

help:
	@echo 'make serve          serve the sample pipeline on 127.0.0.1 (PORT=$(PORT)), with its state in VAR=$(VAR)'
	@echo 'make test           run the tests that need no service (select with TESTS="-k attach tests/unit")'
	@echo 'make test-services  run the tests that need databases, a broker, Keystone, Nova, Cinder, libvirt or clients'
	@echo 'make test-all       run both; "make test-all COVERAGE=1 coverage" also reports the coverage'
	@echo 'make torture        run the crash and load tests for hours (TORTURE=$(TORTURE) times as long)'
	@echo 'make mutants        change the code in many places and list the changes that no test notices (MODULES="...", AGAIN=1)'
	@echo 'make lint           run ruff, mypy and reno, as CI does before the tests'
	@echo 'make format         format the code and fix what ruff can fix'
	@echo 'make docs           build the documentation: build/docs/index.html'
	@echo 'make diagrams       render docs/diagrams/*.dot to SVG with graphviz'
	@echo 'make bench          run the benchmarks (some of them with BENCHMARKS="show listing")'
	@echo 'make bench-instructions  count the instructions of show, list and attach, where valgrind is installed'
	@echo 'make bench-scale    measure 1, 2 and 4 processes with many rows on database servers (ROWS="1000 100000", SECONDS=$(SECONDS))'
	@echo 'make fuzz           send malformed requests to the sample for FUZZ_SECONDS=$(FUZZ_SECONDS); FUZZ_SEED=... repeats a run'
	@echo 'make clean          remove the virtualenv and everything that was built, but not VAR'
	@echo 'PYTHON=$(PYTHON) creates the virtualenv .venv; it must be 3.11 or newer'

serve: .venv/serve
	@echo 'For the commands and examples/openrc in another shell, paste:'
	@echo '    export PATH="$$PWD/.venv/bin:$$PATH" OS_VOLUME_EXT_PASTE=etc/api-paste.ini \'
	@echo '        OS_VOLUME_EXT_PORT="$(PORT)" OS_VOLUME_EXT_VAR="$(VAR)"'
	@exec $(BIN)/os-volume-ext serve --paste etc/api-paste.ini --var "$(VAR)" --port "$(PORT)"

test: .venv/test
	$(PYTEST) $(PARALLEL) -m 'not service' $(TESTS)

test-services: .venv/test
	$(PYTEST) $(PARALLEL) -m 'service and not long' $(TESTS)

test-all: test test-services

coverage: .venv/test
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

torture: .venv/test
	TORTURE=$(TORTURE) PROTOCOL_EXAMPLES=$$((200 * $(TORTURE))) \
	    $(BIN)/python -m pytest -s tests/integration/torture tests/integration/databases \
	        tests/integration/cinder tests/functional/test_protocol_stateful.py $(TESTS)

mutants: .venv/mutants
	$(BIN)/python tools/mutants.py $(if $(AGAIN),--again) $(MODULES)

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

# --fresh-env, because Sphinx reports warnings only for the pages that it reads.
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
	$(BIN)/python -m benchmarks $(BENCHMARKS)

bench-instructions: .venv/test
	$(BIN)/python -m benchmarks instructions

bench-scale: .venv/test
	$(BIN)/python -m benchmarks.scaling --rows $(ROWS) --seconds $(SECONDS)

fuzz: .venv/test
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -rP tests/integration/fuzz

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp records a set of installed extras; a larger set includes the smaller ones.
.venv/serve: $(MADE)
	$(INSTALL) 'serve'
	@touch $@

.venv/docs: $(MADE)
	$(INSTALL) 'docs'
	@touch $@

.venv/test: $(MADE)
	$(INSTALL) 'serve,encryption,keystone,metrics,mysql,notifications,postgresql,docs,test$(LIBVIRT)'
	@touch .venv/serve .venv/docs $@

.venv/lint: $(MADE)
	$(INSTALL) 'serve,encryption,keystone,metrics,mysql,notifications,postgresql,docs,test,lint$(LIBVIRT)'
	@touch .venv/serve .venv/docs .venv/test $@

.venv/mutants: $(MADE)
	$(INSTALL) 'serve,encryption,keystone,metrics,mysql,notifications,postgresql,docs,test,mutants$(LIBVIRT)'
	@touch .venv/serve .venv/docs .venv/test $@

$(MADE): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo 'os-volume-ext needs Python 3.11 or newer, but "$(PYTHON)" is not; set it: make PYTHON=python3.11 ...' >&2; \
	    exit 1; }
	$(PYTHON) -m venv --clear .venv
	@touch $@
