# What can be done here. Every target makes .venv first when it is missing or out of date.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 4

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo docs test test-busy test-core core check bench field torture clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.run ## a real training that dies, is reported lost, comes back and finishes; no account needed
	@$(BIN)/notifybot demo $(ARGS)

docs: $(VENV)/.docs ## the manual in both languages, to open as site/index.html
	@$(BIN)/python docs/generate.py
	@for language in en ko; do NO_COLOR=1 $(BIN)/zensical build --strict --clean -f zensical.$$language.toml || exit; done
	@cp docs/index.html site/

test: $(VENV)/.dev ## all tests with branch coverage; ARGS="-k outbox" narrows them
	@.ci/browser
	@$(BIN)/pytest -m "not torture and not field" -n $(WORKERS) --cov --cov-report=term $(ARGS)

test-busy: $(VENV)/.dev ## the same beside 20 busy processes: no test may depend on a quiet machine
	@busy=; for _ in $$(seq 20); do timeout 14400 sh -c 'while :; do :; done' & busy="$$busy $$!"; done; \
	trap "kill $$busy" EXIT; $(MAKE) test ARGS="$(ARGS)"

# What a version of Python can break, in about two minutes: all that runs in memory, and programs that fork, crash and end.
CORE_TESTS := $(filter-out tests/support% tests/field% tests/browser% tests/processes% tests/__pycache__%,$(wildcard tests/test_*.py tests/*/)) $(addprefix tests/processes/test_,crash.py endings.py fork.py)

test-core: ## the tests that need no PyTorch, on another Python: make test-core PYTHON=python3.13
	@$(MAKE) --no-print-directory core VENV=".venv-core-$$("$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"

core: $(VENV)/.dev-core
	@$(BIN)/python -m pytest -m "not torture and not field" -n $(WORKERS) $(CORE_TESTS) $(ARGS)

check: $(VENV)/.dev ## style, formatting, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.bench ## what the hook costs, beside its peers
	@$(BIN)/python -m benchmarks $(ARGS)

field: $(VENV)/.dev ## other people's shapes of training and all frameworks, with and without us
	@$(BIN)/pytest tests/field tests/integrations tests/test_manual.py -m "field or not field" -n $(WORKERS) $(ARGS)

torture: $(VENV)/.dev ## long campaigns: a thousand kills, nothing lost
	@$(BIN)/pytest -m torture $(ARGS)

clean: ## take .venv and everything that was built away
	@rm -rf $(VENV) .venv-core-* build dist .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .cache demo-output site

# One stamp per set of extras, older than what it was made from when it is out of date.
$(VENV)/.run: EXTRAS := all
$(VENV)/.dev: EXTRAS := dev
$(VENV)/.bench: EXTRAS := dev,bench
$(VENV)/.docs: EXTRAS := docs
$(VENV)/.dev-core: EXTRAS := dev-core
$(VENV)/.run $(VENV)/.dev $(VENV)/.dev-core $(VENV)/.bench $(VENV)/.docs: pyproject.toml constraints.txt .ci/venv
	@.ci/venv "$(PYTHON)" "$(VENV)" "$(EXTRAS)"
	@touch $@
