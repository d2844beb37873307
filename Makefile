# Two commands do everything: `make demo` and `make test`. Each builds .venv first if it has to.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/.ready
BROWSER_TESTS ?= tests/browser

.PHONY: help setup demo test browser test-browser lab bench check build clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"metarim-lite needs Python 3.11 or newer, this is {v[0]}.{v[1]}; try make PYTHON=python3.12")'
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(READY)  ## build .venv with the tested versions

demo: $(READY)  ## meta-train an agent, evaluate it, write curves and a replay to runs/demo/
	$(RUN)/metarim demo

test: $(READY)  ## all tests: package, notebooks, solutions, exercises unsolved
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest -q -n auto --dist worksteal
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest -q -n auto --dist loadfile --nbval notebooks solutions
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest -q -n auto --dist loadfile --nbval-lax exercises

browser: $(READY)  ## what tests in a real browser need besides Chromium
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,browser]'

test-browser: browser  ## widgets, lessons and the replay page in a real browser (Chromium, if there is one)
	METARIM_BROWSER=1 $(RUN)/python -m pytest -q -s -rs $(BROWSER_TESTS)

lab: $(READY)  ## open JupyterLab at lesson 00
	$(RUN)/jupyter lab --ServerApp.root_dir=. notebooks/00_start_here.ipynb

bench: $(READY)  ## measure worlds, controllers and training beside their peers
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	$(RUN)/metarim bench worlds rim train

check: $(READY)  ## quick: style, notebooks in sync with their sources, import rules
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/metarim build --check
	$(RUN)/python -m pytest -q tests/test_house_rules.py

build: $(READY)  ## execute the sources of notebooks, solutions and exercises
	$(RUN)/metarim build

clean:  ## remove .venv and runs
	rm -rf $(VENV) runs
