PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow check docs format clean bench-choices bench-functions bench-overhead bench-passes bench-rules bench-sciml bench-swap bench-paper

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | sort

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); sys.exit(None if ok else "homestretch needs Python 3.11 to 3.13, this is %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(INSTALLED)  ## make .venv with everything the demo and the tests need

demo: $(INSTALLED)  ## train on real digits three ways: Adam alone, Adam then CG, Adam then L-BFGS; under three minutes
	$(BIN)/homestretch demo

test: $(INSTALLED)  ## lint, types and the quick tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check
	$(BIN)/pytest -n 2 tests

test-slow: $(INSTALLED)  ## the tests that take minutes
	$(BIN)/pytest -m slow tests

bench-functions: $(INSTALLED)  ## side by side with peers on smooth test functions; QUICK=1 for a minute's worth
	$(BIN)/python -m benchmarks.bench_functions

bench-sciml: $(INSTALLED)  ## regression and PINNs beside peers; QUICK=1 for the smoke set; hours without
	$(BIN)/python -m benchmarks.bench_sciml

bench-choices: $(INSTALLED)  ## what second="auto" rests on; QUICK=1 for a few iterations of each
	$(BIN)/python -m benchmarks.bench_choices

bench-passes: $(INSTALLED)  ## seconds of a pass, eager, compiled and in bfloat16, by model; DEVICE=cuda for a GPU
	$(BIN)/python -m benchmarks.bench_passes --device $(or $(DEVICE),cpu)

bench-swap: $(INSTALLED)  ## swap rules against fixed swaps; QUICK=1 for a minute's worth, SCALE=tenth or full for more; images from HOMESTRETCH_DATA
	$(BIN)/python -m benchmarks.bench_swap

bench-rules: $(INSTALLED)  ## when the swap rules fire on the digits, by both gradient norms; QUICK=1 for seconds
	$(BIN)/python -m benchmarks.bench_rules

bench-overhead: $(INSTALLED)  ## what the machinery costs beside the evaluations; QUICK=1 for a minute's worth
	$(BIN)/python -m benchmarks.bench_overhead

bench-paper: $(INSTALLED)  ## the paper's table at a tenth of its size; QUICK=1 for a minute's worth; images from HOMESTRETCH_DATA, or the hub extra
	$(BIN)/python -m benchmarks.bench_paper

check: $(INSTALLED)  ## lint and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check

docs: $(INSTALLED)  ## build the site from docs/ and the docstrings into site/
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

format: $(INSTALLED)  ## rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and everything that was made
	rm -rf $(VENV) runs site dist
