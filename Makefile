# Every target does all the set-up it needs. An interrupted set-up continues: a stamp is written only after success.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# the first that there is; 3.11 is the one that was tested
PYTHON ?= $(or $(firstword $(foreach one,python3.11 python3.12 python3.13 python3,$(shell command -v $(one)))),python3.11)
SUBJECT ?= 1
BIN := .venv/bin
# Processes that run tests: as many as fit (tests/conftest.py), or a number; 0 runs them in one process, as pytest alone.
TEST_WORKERS ?= auto
DEMO := $(sort $(wildcard notebooks/0[1-5]_*.ipynb))

# PyTorch's threads spin at their barriers; two busy cores then stand still. The hub is never needed by these targets.
export OMP_WAIT_POLICY ?= passive
export GOMP_SPINCOUNT ?= 0
demo rehearsal gpu test test-all: export HF_HUB_OFFLINE ?= 1

.PHONY: help demo rehearsal gpu test test-all docs lab lint format lock mend clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: .venv/ready  ## notebooks 01 to 05 on the embedded world (SUBJECT=1); executed copies in runs/notebooks/
	$(BIN)/python -m brainram_lib notebook run $(DEMO) --out runs/notebooks -p subject $(SUBJECT)

rehearsal: .venv/ready  ## the paper's profile at full size with random weights and betas (20 GiB of disk); runs/rehearsal/
	$(BIN)/python -m brainram_lib rehearsal --out runs/rehearsal

# Stages that are not done go on with the next call; on a machine without a network call the program itself.
gpu: .venv/ready  ## all that is to be measured and trained where there is a GPU, stage by stage; runs/gpu/
	$(BIN)/python -m brainram_lib gpu --out runs/gpu

# A file's tests stay together, so that what they share is made once.
PYTEST := $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile

test: .venv/ready  ## the tests, with the network denied
	$(PYTEST) -m "not slow"

test-all: .venv/ready  ## the tests and the slow ones
	$(PYTEST)

# The site's packages are no one else's: they have a lock of their own.
docs: .venv/docs  ## the documentation as a site that works offline, in site/; executed notebooks from runs/notebooks/
	$(BIN)/python -m brainram_lib site --out site

# JupyterLab asks at its first start whether it may fetch news; this workbench is offline.
QUIET_LAB := .venv/etc/jupyter/labconfig/page_config.json
$(QUIET_LAB): .venv/ready
	$(BIN)/jupyter labextension disable --level=sys_prefix "@jupyterlab/apputils-extension:announcements"
	touch $@

lab: $(QUIET_LAB)  ## JupyterLab in the same environment
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --LabApp.default_url=/lab/tree/notebooks/01_load_nsd.ipynb

lint: .venv/ready  ## ruff on code and notebooks (`make test` looks after the notebooks' outputs)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/ready  ## let ruff and nbstripout put things right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id $(wildcard notebooks/*.ipynb)

lock: .venv/docs  ## write both lock files from .venv, after changing and testing what is in it
	$(BIN)/python -P brainram_lib/setup/environment.py lock > .venv/lock.new
	$(BIN)/python -P brainram_lib/setup/environment.py lock-docs > .venv/lock-docs.new
	mv .venv/lock.new requirements.lock
	mv .venv/lock-docs.new requirements-docs.lock

mend:  ## look for half-installed packages in .venv and set up again
	rm -f .venv/packages .venv/ready .venv/docs
	$(MAKE) .venv/ready

clean:  ## remove the environment; results in runs/ stay
	rm -rf .venv

.venv/made:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed, and '$(PYTHON)' was not found." \
	  "Install it (Debian: apt-get install python3 python3-venv) or name yours: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) -V)." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { v=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo "'$(PYTHON)' cannot make environments. On Debian: apt-get install python$$v-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	touch $@

# A package whose installation was interrupted half-way looks installed to pip: those are installed over.
.venv/packages: requirements.lock | .venv/made
	@half=$$($(BIN)/python -P brainram_lib/setup/environment.py incomplete); \
	if [ -n "$$half" ]; then echo "Installing again, interrupted earlier:" $$half; \
	  $(BIN)/python -m pip install --disable-pip-version-check --no-deps --ignore-installed $$half; fi
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip check
	touch $@

.venv/ready: pyproject.toml .venv/packages
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --quiet -e .
	touch $@

.venv/docs: requirements-docs.lock .venv/ready
	@half=$$($(BIN)/python -P brainram_lib/setup/environment.py incomplete-docs); \
	if [ -n "$$half" ]; then echo "Installing again, interrupted earlier:" $$half; \
	  $(BIN)/python -m pip install --disable-pip-version-check --no-deps --ignore-installed $$half; fi
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-docs.lock -c requirements.lock
	$(BIN)/python -m pip check
	touch $@
