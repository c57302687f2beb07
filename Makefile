# The two commands are `make run` and `make test`; both set up what they need. Python 3.11+ and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RIG_DIR ?= ../shared/rig
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

.PHONY: help run test test-real lock generated clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

run: $(VENV)/.run ## Set up and start the gateway on port 8000, with embedded upstreams unless .env names real ones
	@exec $(BIN)/agentgraph serve

test: $(VENV)/.test tests/node/node_modules/.installed ## Set up and pass every check
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo > .lint-imports.log || { cat .lint-imports.log; exit 1; }
	$(BIN)/python -m pytest -q

test-real: $(VENV)/.test tests/node/node_modules/.installed ## The doors against the real Letta and LiteLLM of RIG_DIR
	bash tests/real.sh "$(RIG_DIR)" "$(BIN)"

generated: $(VENV)/.run ## Write anew what is made from the code: schema, env.example, the table of settings
	$(BIN)/agentgraph schema > schema/schema.graphql
	$(BIN)/agentgraph settings > env.example
	$(BIN)/agentgraph settings --markdown > docs/configuration.md

lock: ## Lock the dependencies anew
	$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/python -m pip install --quiet uv==0.13.9
	$(VENV)-lock/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' pyproject.toml --group build -o requirements.lock
	$(VENV)-lock/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' pyproject.toml --group build --group dev -o requirements-dev.lock

clean: ## Remove what was set up
	rm -rf $(VENV) $(VENV)-lock tests/node/node_modules .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: requirements-dev.lock pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements-dev.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run

tests/node/node_modules/.installed: tests/node/package-lock.json
	@if command -v npm >/dev/null; then cd tests/node && npm ci --silent --no-audit --no-fund && touch node_modules/.installed; fi
