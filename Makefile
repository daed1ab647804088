# make demo, make test: on a fresh clone with nothing but Python >= 3.11 and make. `make help` lists the rest.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
# What the test targets run: everything, or some folders and files.
TESTS ?= tests
# What `durations` measures.
TIER ?= test
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
# A marker that is newer than pyproject.toml: everything is installed.
READY := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo check test exhaustive durations lint format install clean

help: ## list what make can do
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(READY) ## train on real images, then prove the trained model equal to its PyTorch twin
	$(BIN)/python -m experiments.training.demo

check: $(READY) ## run the quick tests: for every save
	$(PYTEST) --tier check $(TESTS)

test: $(READY) ## run what every submission must pass, and the day's draw of the rest
	$(PYTEST) --tier test $(TESTS)

exhaustive: $(READY) ## run every test
	$(PYTEST) --tier exhaustive $(TESTS)

durations: $(READY) ## run the tests and print where their time goes, by folder and by cause
	$(PYTEST) --tier $(TIER) --costs-json .pytest_cache/durations.json $(TESTS)

lint: $(READY) ## check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(READY) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(READY) ## install everything into $(VENV)

clean: ## remove the environment, caches and what demo made
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis demo build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; $(PYTHON) is older: make PYTHON=python3.12 demo"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq --no-compile --editable ".[dev]" # compiling all modules takes as long again
	@touch $@
