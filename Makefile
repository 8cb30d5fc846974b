# Every target makes its own .venv from the locked, hash-checked libraries; nothing else is needed but Python and a C
# library. `make` alone lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install -qq --disable-pip-version-check
ARGS   ?=

RUNTIME := $(VENV)/.runtime-installed
DEV     := $(VENV)/.dev-installed

.DEFAULT_GOAL := help
.PHONY: help demo serve test check lint types imports coverage bench lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | while IFS="$$(printf '\t')" read -r target text; \
		do printf '  make %-9s %s\n' "$$target" "$$text"; done

demo: $(RUNTIME) ## play the whole story on this machine, from the application to the first NACCS result
	@$(BIN)/naccs-gateway demo $(ARGS)

serve: $(RUNTIME) ## run the gateway on its defaults (ARGS="--settings FILE" for others)
	@$(BIN)/naccs-gateway $(ARGS) serve

test: $(DEV) ## run the tests (ARGS="-k word" for some of them)
	@$(BIN)/python -m pytest $(ARGS)

check: lint types imports coverage ## everything CI asks: format, lint, types, import contracts, tests, coverage

lint: $(DEV) ## format and lint, changing nothing
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(DEV) ## mypy --strict
	@$(BIN)/mypy

imports: $(DEV) ## gateway -> handlers -> storage, and the other contracts
	@$(BIN)/lint-imports --no-cache

MEASURED := --cov=handlers --cov=storage --cov-branch --cov-report=

coverage: $(DEV) ## the tests, with the gate on what handlers and storage leave untried
	@rm -f .coverage
	@$(BIN)/python -m pytest $(MEASURED) $(ARGS); tests=$$?; \
	$(BIN)/coverage report --fail-under=95; gate=$$?; \
	test $$tests = 0 -a $$gate = 0

bench: $(RUNTIME) ## compare with Postfix, side by side (needs Debian's postfix package)
	@$(BIN)/python -m benchmarks.bench --json bench.json $(ARGS)

lock: ## resolve the libraries again (needs uv); names no registry
	@options="--quiet --no-header --no-emit-index-url --no-emit-find-links --generate-hashes --universal --python-version 3.11"; \
	uv pip compile $$options --extra pdf --extra postgres --group build --output-file requirements.lock pyproject.toml && \
	uv pip compile $$options --extra pdf --extra postgres --extra dev --group build --constraint requirements.lock \
		--output-file requirements-dev.lock pyproject.toml

clean: ## remove what the targets made, never a store
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")'
	@echo "[setup 1/3] $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements.lock pyproject.toml | $(BIN)/python
	@echo "[setup 2/3] the gateway's $$(grep -c '==' requirements.lock) locked libraries, hashes checked (about half a minute)"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	@echo "[setup 3/3] what tests and checks need besides"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@
