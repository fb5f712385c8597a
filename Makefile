# The few things done often. Everything is made inside this folder; `make` alone lists the targets.

# The Python that makes .venv: make PYTHON=/path/to/python3.12 demo. Empty: the first that fits.
PYTHON ?=
# Test processes side by side, each with one thread; a file's tests share what they make and compile.
WORKERS ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1

bin := .venv/bin
installed := .venv/installed

.PHONY: help demo test lint docs clean distclean
.DEFAULT_GOAL := help

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F '|' '{printf "%-18s %s\n", $$1, $$2}'

demo: $(installed) ## install into .venv, convert the embedded MNIST network, write demo-snn/
	$(bin)/convsnn convert zoo:mnist5k-cnn --timesteps 128 --force -o demo-snn

test: lint ## install into .venv, lint, run every test
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(WORKERS) --dist loadfile

lint: $(installed) ## check formatting, lint rules and types
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy

docs: $(installed) ## build the documentation into build/docs, warnings are errors
	$(bin)/python -m sphinx -W --keep-going -q docs build/docs

clean: ## remove caches, builds and the demo's result
	rm -rf build dist demo-snn *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find convsnn calibrate zoo tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## the same, and .venv
	rm -rf .venv

# Written last, so that an interrupted install is taken up again. pip shows its progress where
# someone watches, and only warnings and errors in a log.
$(installed): pyproject.toml constraints.txt
	@if ! $(bin)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		if [ -n '$(PYTHON)' ]; then set -- '$(PYTHON)'; else set -- python3.11 python3; fi; \
		found=; \
		for candidate in "$$@"; do \
			if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
				found=$$candidate; break; \
			fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "No Python 3.11 or newer under the name: $$*" >&2; \
			echo "Install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
			exit 1; \
		fi; \
		echo "Making .venv with $$("$$found" --version)"; \
		"$$found" -m venv --clear .venv; \
	fi
	@echo "Installing into .venv: some minutes and about 6.5 GB the first time"
	@if [ -t 1 ]; then quiet=; else quiet=--quiet; fi; \
	$(bin)/python -m pip install $$quiet -c constraints.txt -e '.[dev]'
	@touch $@
