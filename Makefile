# `make help` lists the targets.  VENV=directory and PYTHON=interpreter may be given.
VENV ?= .venv
PYTHON ?=
JOBS ?= 2
# Passed to the test runner, e.g. `make test ARGS="--layer unit -k units"`.
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.complete

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-user check lint bench soak lock wheel clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv from requirements.lock; again when that changes

$(STAMP): requirements.lock setup.cfg pyproject.toml scripts/tools/setup
	@scripts/tools/setup "$(VENV)" $(PYTHON)
	@touch $@

demo: $(STAMP) ## the main job: both read paths compared on a small cluster
	@$(BIN)/testbed run demo

test: $(STAMP) ## unit, netns and end-to-end tests
	@$(BIN)/python scripts/tools/run_layers.py --jobs $(JOBS) $(ARGS)

test-user: $(STAMP) ## the tests marked `user`, without privileges (also from root)
	@scripts/tools/test_as_user "$(VENV)" $(ARGS)

lint: $(STAMP) ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict testbed agents scripts
	$(BIN)/lint-imports --no-logo

check: lint ## lint, then test, then test-user
	@$(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory test-user

bench: $(STAMP) ## every benchmark in scripts/bench, one after another
	@missed=""; for file in scripts/bench/[a-z]*.py; do \
		echo "--- $$file"; \
		$(BIN)/python -m "$$(echo "$${file%.py}" | tr / .)" $(ARGS) || missed="$$missed $$file"; \
	done; test -z "$$missed" || { echo "targets missed:$$missed"; exit 1; }

soak: $(STAMP) ## faults at random moments, many times over
	@$(BIN)/python -m pytest tests/soak -m soak --timeout=0 $(ARGS)

lock: ## resolve the dependencies of setup.cfg anew (UPGRADE=1: to the newest releases)
	@test -x $(BIN)/uv || $(MAKE) --no-print-directory setup
	@$(BIN)/uv pip compile setup.cfg --quiet --extra test --extra dev --generate-hashes \
		--universal --python-version 3.11 --no-annotate --custom-compile-command "make lock" \
		$(if $(UPGRADE),--upgrade) --output-file requirements.lock

wheel: $(STAMP) ## build dist/*.whl
	@rm -rf build # setuptools would pack what an earlier build left there
	@$(BIN)/python -m build --wheel --no-isolation

clean: ## remove what was built or cached (not .venv, not runs/)
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis \
		.import_linter_cache
	find . -path "./$(VENV)" -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## remove .venv as well
	rm -rf "$(VENV)"
