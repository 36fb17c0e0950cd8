# Three commands do the work: `make run`, `make check` and `make test`. All set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch: "auto" installs it only where an NVIDIA GPU is found, because what pip picks may weigh
# gigabytes; TORCH=yes always, TORCH=no never. Nothing in `make run` needs it.
TORCH ?= auto
# Test files at a time; a file's tests stay together and in order.
TEST_JOBS ?= 2
# Which tests, e.g. make test MARK="not ray and not images"; `pytest --markers` lists the names.
MARK ?=
# Flags for the run, e.g. make run ARGS="--minutes 20 --set run.seed=7"
ARGS ?=

WANT_TORCH := $(if $(filter yes,$(TORCH)),yes,$(if $(filter auto,$(TORCH)),$(if $(shell command -v nvidia-smi),yes,),))

.DEFAULT_GOAL := help
.PHONY: always help run test check quick bench lint types style hooks history format install dashboards chart architecture clean distclean

help:  ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/.base: pyproject.toml constraints.txt $(if $(WANT_TORCH),$(if $(wildcard $(VENV)/lib/python*/site-packages/torch),,always))
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Evocodec needs Python 3.11 or newer; try: make PYTHON=python3.11 run")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	$(if $(WANT_TORCH),$(BIN)/python -m pip install -q --disable-pip-version-check "$$(grep '^torch==' constraints.txt)")
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev,jit]'
	touch $@

install: $(VENV)/.base  ## set up .venv

run: $(VENV)/.base  ## evolve a codec on real video for five minutes
	$(BIN)/evocodec run --minutes 3.5 $(ARGS)

test: lint  ## set up everything and run all checks and tests
	$(BIN)/python -m pytest -q -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder $(if $(MARK),-m "$(MARK)")

# The types are checked beside the tests: mypy uses one core, for most of a minute without its cache.
check: style  ## the quick half of it: no processes, no servers
	@$(MAKE) --no-print-directory -j2 types quick

quick: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n $(TEST_JOBS) --dist worksteal tests/unit tests/property

bench: $(VENV)/.dev  ## measure; the tables of docs/benchmarks.md
	$(BIN)/python -m benchmarks.bench $(ARGS)

lint: style types  ## types, style, layers

style: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

hooks:  ## let git refuse commits that do not parse or are not in the house style
	git config core.hooksPath tools/hooks

history: $(VENV)/.base  ## check that Python parses in every commit of this branch
	$(BIN)/python -m tools.check_history

format: $(VENV)/.dev  ## rewrite files in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

dashboards: $(VENV)/.dev  ## make Grafana's dashboards again
	$(BIN)/python -m observability.generate

chart: $(VENV)/.dev  ## make what the chart and k8s/ take from settings and alerts again
	$(BIN)/python -m tools.chart_settings
	$(BIN)/python -m tools.chart_readme
	$(BIN)/python -m tools.render_kustomize

architecture: $(VENV)/.base  ## draw the picture of the rooms again
	$(BIN)/python -m tools.draw_architecture

clean:  ## remove caches; runs and adopted versions stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info

distclean: clean  ## remove .venv as well
	rm -rf $(VENV)

include sandbox-image/image.mk
include controller-image/image.mk
