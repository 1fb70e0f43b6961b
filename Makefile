# Needs Python 3.10 to 3.13 and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
UV := $(BIN)/uv
export DAGSTER_HOME ?= $(CURDIR)
export UV_PROJECT_ENVIRONMENT := $(CURDIR)/$(VENV)
# Commands find the environment as if it were activated.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PATH := $(BIN):$(PATH)

.PHONY: install demo demo-elasticsearch test run-tests torture lint ui bench bench-elasticsearch \
  verify-snowflake screenshots clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
	  { echo "Python 3.10 to 3.13 is needed, and $(PYTHON) is not; try make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	@$(UV) sync --quiet --frozen --all-extras --compile-bytecode --python $(BIN)/python
	@# The lock does not hold uv itself: sync removed it.
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	@touch $@

demo: install  ## Move seven windows of real data and show what happened
	@$(BIN)/python -m demo

demo-elasticsearch: install  ## The same from Elasticsearch through S3 into Snowflake's test server
	@$(BIN)/python -m demo.flagship

lint: install  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: install  ## Style, types and all tests; servers are started by the tests
	@$(MAKE) --no-print-directory -j 2 lint run-tests

run-tests: install
	@$(BIN)/python -m pipeline_platform_tests.servers
	$(BIN)/python -m pytest -n 3 --dist worksteal --durations=15

torture: install  ## 1,000 seeded kills and every row of the fault matrix; KILLS, ROWS and SEED narrow it
	@$(BIN)/python -m pipeline_platform_tests.servers
	$(BIN)/python -m pipeline_platform_tests.faults.torture

ui: install  ## Dagster's UI and daemon on 127.0.0.1:3000, with the demo in place
	@test -e data/warehouse.duckdb || $(BIN)/python -m demo
	@echo "Dagster UI: http://127.0.0.1:3000"
	$(BIN)/dg dev --host 127.0.0.1 --port 3000

bench: install  ## Speed, as ratios to bare loads and as laws; takes about ten minutes
	$(BIN)/python -m benchmarks

bench-elasticsearch: install  ## The same for Elasticsearch, beside other tools; starts a server
	$(BIN)/python -m benchmarks --part elasticsearch

verify-snowflake: install  ## What only a real account can show; see docs/snowflake.md
	$(BIN)/python -m pipeline_platform.verify_snowflake

screenshots: install  ## Take the pictures of docs/images anew, in a real browser
	$(BIN)/python -m pipeline_platform_tests.ui.screenshots

clean:  ## Remove data and environment
	rm -rf data $(VENV)
