# Every target sets itself up: it needs only Python >= 3.11 with pip, and make.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
# Tests run in two processes of one thread each: more threads gain nothing on tiny models.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

.PHONY: demo test test-quick test-architectures lint types bench clean help

help:
	@echo "make demo   run the main job on a real model: base, ProFS and DPO, with 30 % of the labels flipped and without"
	@echo "make test   run the tests (no network beyond installing);  make test-quick  all but the slow ones"
	@echo "make test-architectures   try every architecture of transformers, and write docs/run/architectures.md"
	@echo "make lint   check style;  make types  check types;  make bench  measure speed and memory, as ratios"
	@echo "make clean  remove the environment and what the tools left (never the downloads or your runs)"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "making an environment in $(VENV), about 2 minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --upgrade pip  # -qq: failures and lost connections are still shown
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/bench run --methods profs,dpo --noise 0.3

test: $(READY)
	$(PYTEST) -m "not network and not gpu and not architectures"

test-quick: $(READY)
	$(PYTEST) -m "not slow and not network and not gpu and not architectures"

test-architectures: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m architectures tests/architectures

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache lightning_logs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
