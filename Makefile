# The project's commands: `make help` lists them.
#
# They need python3 (3.10 to 3.13, with its venv module) and make. The first target that needs the
# rest installs it into .venv.

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
RUN := $(VENV)/bin/python

# The versions to install (constraints-oldest.txt: the oldest that setup.py allows), and the extras.
# Remove .venv before you change them.
CONSTRAINTS ?= constraints.txt
EXTRAS ?= docs,examples,test

DEMO_OUTPUT := demo_output
DEMO_FLAGS ?=
BENCH_FLAGS ?=
PYTEST_FLAGS ?=

# The scripts in benchmarks/ whose names have no leading underscore, as module names.
BENCHMARKS ?= $(patsubst benchmarks/%.py,benchmarks.%,\
  $(filter-out benchmarks/_%,$(sort $(wildcard benchmarks/*.py))))

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint types docs bench wheel-test clean

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

# The stamp saves later calls from running pip again. It is out of date when the dependencies, their
# pins or the version change. A .venv that was made by hand is used as it is. One whose creation was
# interrupted before it had pip is completed.
$(STAMP): setup.py $(CONSTRAINTS) tfp_ar/version.py
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check -e '.[$(EXTRAS)]' -c $(CONSTRAINTS)
	@touch $@

demo: $(STAMP)  ## Train the demo model and draw its pictures (DEMO_FLAGS="--flag=value ...").
	$(RUN) -m examples.train_wavenet_flow --output_dir=$(DEMO_OUTPUT) $(DEMO_FLAGS)
	@echo "The pictures are in $(DEMO_OUTPUT)/"

# There are two workers. Each loads its own TensorFlow, so more of them would cost memory before
# they save time.
test: $(STAMP)  ## Run all tests except the slow ones (PYTEST_FLAGS="...").
	$(RUN) -m pytest -n 2 --dist loadgroup -m "not slow" $(PYTEST_FLAGS)

test-all: $(STAMP)  ## Run all tests.
	$(RUN) -m pytest -n 2 --dist loadgroup $(PYTEST_FLAGS)

# PYTHONPATH makes lint-imports look at this checkout, whatever is installed.
lint: $(STAMP)  ## Check the style and format of the code, and the direction of imports.
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	PYTHONPATH=. $(VENV)/bin/lint-imports --no-logo --no-cache

types: $(STAMP)  ## Check the types of the library with mypy.
	$(RUN) -m mypy

# The variable keeps mkdocs-material from advertising its successor.
docs: $(STAMP)  ## Build the documentation into site/; a broken link is an error.
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

# They run one after the other, so that they do not disturb each other's timings.
bench: $(STAMP)  ## Run the benchmarks (BENCHMARKS=benchmarks.NAME for one, BENCH_FLAGS="...").
	@test -n "$(strip $(BENCHMARKS))" || { echo "There is no script in benchmarks/." >&2; exit 1; }
	@set -e; for name in $(BENCHMARKS); do \
	  echo "$(RUN) -m $$name $(BENCH_FLAGS)"; \
	  $(RUN) -m $$name $(BENCH_FLAGS); \
	done

wheel-test:  ## Build wheel and sdist, and try the wheel in an environment of its own.
	PYTHON=$(PYTHON) CONSTRAINTS=$(CONSTRAINTS) tools/check_wheel.sh

# .venv stays: it is a large download. Remove it by hand to start anew.
clean:  ## Remove generated files, except .venv.
	rm -rf build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache
	rm -rf $(DEMO_OUTPUT) *_output receptive_field.png
	find . -path './$(VENV)' -prune -o -path ./.git -prune -o \
	  -type d -name __pycache__ -prune -exec rm -rf {} +
