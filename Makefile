# The main commands are `make run` and `make test`; both set up what they need. Python 3.11+ and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RIG_DIR ?= ../shared/rig
PEERS_DIR ?= ../shared/peers
ROUNDS ?= 5
WORKERS ?= 4
APART := $(addprefix --ignore tests/, attacks browser chaos fuzz processes)
PAGES := app/pages/graphiql
CHAT := examples/chat
LETTACODE := .venv-lettacode
CLIENTS := .venv-clients
CLIENTS2 := .venv-clients-openai2
PIP := install --quiet --disable-pip-version-check --no-input

# uv installs five times faster than pip. If uv fails, as with an index configured only for pip, pip installs.
# The second argument is another environment than $(VENV).
in = $(or $(2),$(VENV))/bin/python
install = $(BIN)/uv pip install --quiet --python $(in) $(1) \
	|| { $(in) -m ensurepip >/dev/null && $(in) -m pip $(PIP) $(1); }

# npm's cached metadata may be too old for the lock file.
npm_ci = { npm ci --silent --prefer-offline --fetch-retries=0 || npm ci --silent --fetch-retries=1; }

# Independent targets are made in parallel. Downloads wait more than they compute, so jobs exceed the cores.
MAKEFLAGS += --jobs=5

# Keep Python's bytecode for later processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test style types imports test-processes test-attacks test-real fuzz fuzz-briefly test-chaos chaos soak bench profile costs pages demo screenshots released lock generated clients clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

run: $(VENV)/.run $(PAGES)/dist/.built $(CHAT)/dist/.built ## Set up and start the gateway on port 8000, with embedded services unless .env has their URLs
	@exec $(BIN)/agentgraph serve

test: style types imports .collected.log $(PAGES)/dist/.built $(CHAT)/dist/.built tests/node/node_modules/.installed ## Set up and run every check
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal $(APART)

style: $(VENV)/.test
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .

types: $(VENV)/.test
	$(BIN)/mypy --no-error-summary

imports: $(VENV)/.test
	$(BIN)/lint-imports --no-logo > .lint-imports.log || { cat .lint-imports.log; exit 1; }

# Rewrite the tests' assertions once after a change, not in every worker.
.collected.log: $(VENV)/.test $(shell find tests -name '*.py')
	@$(BIN)/python -m pytest -q --collect-only $(APART) > $@ || { cat $@; rm $@; exit 1; }

test-real: $(VENV)/.test tests/node/node_modules/.installed ## Test the endpoints and contracts with the real Letta and both versions of LiteLLM of RIG_DIR
	bash tests/real.sh "$(RIG_DIR)" "$(BIN)"

test-processes: $(VENV)/.test $(PAGES)/dist/.built $(CHAT)/dist/.built tests/node/node_modules/.installed $(LETTACODE)/.installed $(CLIENTS)/.installed $(CLIENTS2)/.installed ## Run the examples in the documentation, the tests in a browser, and those that stop, kill or multiply gateways
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal tests/processes tests/browser

test-attacks: $(VENV)/.test ## Attack a gateway with floods, slow clients and expensive operations
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/attacks

fuzz-briefly: $(VENV)/.test ## Send random bytes and 1,000 random operations for half a minute, with a fixed seed
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/fuzz

fuzz: $(VENV)/.test ## Send random bytes to every endpoint for ten minutes (FUZZ_SECONDS), then 20,000 random operations (FUZZ_EXAMPLES)
	FUZZ_SECONDS=$${FUZZ_SECONDS:-600} $(BIN)/python -m pytest -q tests/fuzz/test_doors.py
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-20000} $(BIN)/python -m pytest -q tests/fuzz/test_operations.py

test-chaos: $(VENV)/.test ## Kill gateways and Redis under load, and send mixed load with faults, for a minute each
	$(BIN)/python -m pytest -q tests/chaos

chaos: $(VENV)/.test ## Kill gateways and Redis under load, and count lost and doubled tokens and mutations
	$(BIN)/python -m tests.chaos

soak: $(VENV)/.test ## Send mixed load with random faults for ten minutes (SOAK_SECONDS), and compare the process's resources
	$(BIN)/python -m tests.chaos.soak

bench: $(VENV)/.test ## Measure the gateway side by side with its peers (SCENARIO, ROUNDS, JSON=1, SAVE=1; docs/performance.md)
	@PEERS_DIR="$(PEERS_DIR)" $(BIN)/python -m bench $(SCENARIO) --rounds $(ROUNDS) $(if $(BASE),--base $(BASE)) \
		$(if $(JSON),--json) $(if $(SAVE),--save)

profile: $(VENV)/.test ## Write a flame graph of the gateway under the load of SCENARIO to .bench/profiles
	@PEERS_DIR="$(PEERS_DIR)" $(BIN)/python -m bench $(SCENARIO) --rounds 1 --profile

costs: $(VENV)/.test ## Count again what requests cost: upstream calls, Redis round trips and instructions
	$(BIN)/python -m tests.support.costs

pages: $(PAGES)/dist/.built ## Build GraphiQL and /docs, if npm is installed

demo: $(CHAT)/dist/.built ## Build the chat example, if npm is installed

screenshots: $(VENV)/.test $(PAGES)/dist/.built tests/node/node_modules/.installed ## Take the images of docs/images again
	$(BIN)/python -m tests.support.screenshots docs/images

generated: $(VENV)/.test ## Generate schemas, env.example and pages of docs from the code
	$(BIN)/agentgraph schema > schema/schema.graphql
	$(BIN)/agentgraph schema --federation > schema/subgraph.graphql
	$(BIN)/agentgraph settings > env.example
	$(BIN)/agentgraph settings --markdown > docs/configuration.md
	$(BIN)/python -m app.bounds.page docs/limits.md
	$(BIN)/python -m app.state_page docs/state.md
	$(BIN)/python -m app.cache_page docs/cache.md
	$(BIN)/python -m app.doctor.page docs/doctor.md
	$(BIN)/python -m tests.support.calltable > docs/calls.md
	$(BIN)/python -m tests.support.resilience > docs/resilience.md

clients: $(VENV)/.test tests/node/node_modules/.installed $(CLIENTS)/.installed $(CLIENTS2)/.installed ## Run the client libraries, and write docs/clients.md
	$(BIN)/python -m tests.support.clienttable

released: ## At a release: make the current schema the baseline for breaking changes
	cp schema/schema.graphql schema/released.graphql

lock: ## Lock the dependencies again
	$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/python -m pip install --quiet -r requirements-uv.lock
	echo uv==0.13.9 | $(VENV)-lock/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' - -o requirements-uv.lock
	echo letta==0.34.12 | $(VENV)-lock/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' - -o requirements-lettacode.lock
	for group in clients clients-openai2; do $(VENV)-lock/bin/uv pip compile -q --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
		--group pyproject.toml:$$group -o requirements-$$group.lock; done
	$(VENV)-lock/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' pyproject.toml --group build -o requirements.lock
	$(VENV)-lock/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' pyproject.toml --group build --group dev -o requirements-dev.lock

clean: ## Remove everything that was set up
	rm -rf $(VENV) $(VENV)-lock $(LETTACODE) $(CLIENTS) $(CLIENTS2) .bench tests/node/node_modules $(PAGES)/node_modules $(PAGES)/dist \
		tests/node/cache/relay/__generated__ $(CHAT)/node_modules $(CHAT)/dist $(CHAT)/src/gql .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# To create pip in the environment takes four seconds, so the interpreter's pip installs uv, unless it is missing or old.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv --without-pip $(VENV) || { rm -rf $(VENV); exit 1; }
	@$(PYTHON) -m pip --python $@ $(PIP) --require-hashes -r requirements-uv.lock 2>/dev/null \
		|| { $@ -m ensurepip >/dev/null && $@ -m pip $(PIP) --require-hashes -r requirements-uv.lock; } || true

$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	$(call install,--require-hashes -r requirements.lock)
	$(call install,--no-deps --no-build-isolation -e .)
	@touch $@

$(VENV)/.test: requirements-dev.lock pyproject.toml | $(BIN)/python
	$(call install,--require-hashes -r requirements-dev.lock)
	$(call install,--no-deps --no-build-isolation -e .)
	@touch $@ $(VENV)/.run

# Letta Code has no wheel for some platforms, such as Alpine. Without it, its tests are skipped.
$(LETTACODE)/.installed: requirements-lettacode.lock | $(VENV)/.test
	@rm -rf $(LETTACODE)
	@if $(PYTHON) -m venv --without-pip $(LETTACODE) && { $(call install,--require-hashes --no-deps -r $<,$(LETTACODE)); }; \
	then touch $@; else echo "Letta Code was not installed, so its tests are skipped."; fi

# Without the client libraries, their tests are skipped.
$(CLIENTS)/.installed $(CLIENTS2)/.installed: .venv-%/.installed: requirements-%.lock | $(VENV)/.test
	@rm -rf $(@D)
	@if $(PYTHON) -m venv --without-pip $(@D) && { $(call install,--require-hashes --no-deps -r $<,$(@D)); }; \
	then touch $@; else echo "The libraries of $< were not installed, so their tests are skipped."; fi

tests/node/node_modules/.installed: tests/node/package-lock.json
	@if command -v npm >/dev/null; then cd tests/node && $(npm_ci) && touch node_modules/.installed; fi

# Without npm, GraphiQL and /docs load from a CDN.
$(PAGES)/dist/.built: $(PAGES)/package-lock.json $(PAGES)/vite.config.js $(wildcard $(PAGES)/*.html $(PAGES)/src/*)
	@if command -v npm >/dev/null && cd $(PAGES) \
		&& { [ node_modules/.installed -nt package-lock.json ] \
			|| { $(npm_ci) && touch node_modules/.installed; }; } \
		&& npm run --silent build; \
	then touch dist/.built; \
	else echo "GraphiQL was not built, since npm is missing or failed: its page loads from a CDN instead."; fi

# Without npm there is no /demo. The build checks the types too.
$(CHAT)/dist/.built: schema/schema.graphql $(wildcard $(CHAT)/*.json $(CHAT)/*.mjs $(CHAT)/*.ts $(CHAT)/*.html $(CHAT)/public/* $(CHAT)/src/*.* $(CHAT)/src/graphql/*)
	@mkdir -p $(CHAT)/dist
	@if command -v npm >/dev/null && (cd $(CHAT) \
		&& { [ node_modules/.installed -nt package-lock.json ] \
			|| { $(npm_ci) && touch node_modules/.installed; }; } \
		&& npm run --silent build); \
	then touch $@; \
	else rm -f $(CHAT)/dist/index.html; \
		echo "The chat example was not built, since npm is missing or failed: there is no /demo."; fi
