# `make demo` and `make test` need nothing but a Python of at least 3.10.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test slow attack lint format clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# Stamps keep a second call from installing again.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing overtone (torch is large: this takes a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	@echo "installing overtone and what its tests need (torch is large: this takes a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@ $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/overtone run watch

test: lint
	$(BIN)/python -m pytest -n auto --dist worksteal

# What takes minutes by nature; before a release.
slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow

# Kills, damaged studies, mutated recipes, data and student files by the hundred; the last line counts tries and faults.
attack: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python tests/attack.py

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)
