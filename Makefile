# What a newcomer types. `make` installs the package into .venv; every other target does so itself.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CORE   := $(shell find csrc -type f) setup.py pyproject.toml
CXX_FILES := $(shell find csrc examples tests -name '*.cpp' -o -name '*.h' -o -name '*.hpp' -o -name '*.c')

.PHONY: install demo test test-all soak gate-all pythons sanitize fuzz sizes lint format bench real clean

install: $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

# The package, editable, with the extension built into qwen3edge/. New Python files need no second installation.
$(VENV)/.installed: $(BIN)/python $(CORE)
	$(BIN)/pip install --quiet -e '.[convert,serve]' -c constraints.txt
	touch $@

$(VENV)/.tests: $(VENV)/.installed constraints.txt
	$(BIN)/pip install --quiet --group test -c constraints.txt
	touch $@

# The clients that slow tests of the server speak to: Python's, and of npm where it is there.
$(VENV)/.clients: $(VENV)/.tests
	$(BIN)/pip install --quiet --group clients -c constraints.txt
	if command -v npm > /dev/null; then npm install --silent --no-save --prefix build/npm ai@6 @ai-sdk/openai-compatible@2; fi
	touch $@

# mypy reads the types of what the package imports.
$(VENV)/.lint: $(VENV)/.installed constraints.txt
	$(BIN)/pip install --quiet ruff mypy clang-format -c constraints.txt
	touch $@

# The main job on the tiny model: convert, plan, a chat that thinks and one that answers at once, speed, a server.
demo: $(VENV)/.installed
	@BIN=$(BIN) sh scripts/demo.sh

test: $(VENV)/.tests
	$(BIN)/python tests/fetch_tokenizer.py
	$(BIN)/python tests/run.py -m 'not slow'

test-all: $(VENV)/.clients
	$(BIN)/python tests/fetch_tokenizer.py
	$(BIN)/python tests/run.py

# Hostile requests to a server in full number (`make test-all` sends a few hundred); hours on two cores.
soak: $(VENV)/.tests
	QWEN3EDGE_REQUESTS=20000 $(BIN)/python -m pytest tests/server/hostile/test_schemathesis.py
	QWEN3EDGE_REQUESTS=10000 $(BIN)/python -m pytest tests/server/hostile/test_generated.py tests/server/hostile/test_disconnects.py

# The GPU kernels compiled by every release of Triton that users have, without a GPU; an hour on two cores.
gate-all: $(VENV)/.tests
	$(BIN)/python bench/gate_releases.py

# A wheel and a fast part of the tests on every Python that pyproject.toml allows and that this machine has.
pythons: $(BIN)/python
	$(BIN)/python tests/pythons.py

# On a core that looks for bad memory and undefined behaviour, then on one that looks for races; in copies under build/.
sanitize: $(VENV)/.tests
	$(BIN)/pip install --quiet pybind11
	$(BIN)/python tests/fetch_tokenizer.py
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python tests/sanitize.py address
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python tests/sanitize.py thread

# Any bytes as a model file, then as a text, for a minute each; needs clang.
fuzz: $(VENV)/.tests
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m tests.fuzz.run

# What the stripped C library weighs, by part. Its core is the one that `make` left.
sizes: $(VENV)/.tests
	$(BIN)/python -m scripts.sizes

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

bench: $(VENV)/.tests
	$(BIN)/python -m bench.report

# The public real model (491 MB, fetched unless MODEL=path names it) beside llama.cpp: the table in docs/decisions/real-model.md.
real: $(VENV)/.tests
	$(BIN)/python bench/real_model.py $(if $(MODEL),--model $(MODEL)) --markdown docs/decisions/real-model.md

clean:
	rm -rf $(VENV) build dist *.egg-info qwen3edge/*.so
