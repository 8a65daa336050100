# `make demo` and `make test` need nothing but Python 3.11 or newer: each sets up .venv first.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
WORKERS ?= 2
FA4 := .venv-fa4

.PHONY: demo test lint bench bench-static clean

demo: $(STAMP)
	$(BIN)/flash4gen compile specs/gemma2_9b_local.attn specs/llama3_8b.attn \
	    --target b200 --target rtx5090 -o generated

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks.numbers

bench-static: $(STAMP) $(FA4)/.installed
	$(BIN)/python -m benchmarks.fa4_static --fa4-python $(FA4)/bin/python

clean:
	rm -rf .venv $(FA4) .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Installs again when pyproject.toml changes.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "flash4gen needs Python 3.11 or newer; '$(PYTHON)' is not."; \
	    echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

# FlashAttention-4 with its own versions of everything; several GB, and only for bench-static.
$(FA4)/.installed: pyproject.toml
	$(PYTHON) -m venv $(FA4)
	$(FA4)/bin/python -m pip install --quiet '.[fa4]'
	@touch $@
