# Needs Python 3.10 or newer and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
BIN := $(VENV)/bin
export DAGSTER_HOME ?= $(CURDIR)
export UV_PROJECT_ENVIRONMENT := $(CURDIR)/$(VENV)

.PHONY: install demo test lint ui clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed, $(PYTHON) is older; try make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	@$(UV) sync --quiet --frozen --all-extras --python $(BIN)/python
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	@touch $@

demo: install  ## Move seven windows of real data and show what happened
	@$(BIN)/python -m demo

lint: install  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint  ## Everything; servers are started by the tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup

ui: install  ## Dagster's UI on 127.0.0.1:3000
	@echo "Dagster UI: http://127.0.0.1:3000"
	$(BIN)/dg dev --host 127.0.0.1 --port 3000

clean:  ## Remove data and environment
	rm -rf data $(VENV)
