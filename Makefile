# `make run` and `make test` do all the set-up themselves; nothing is installed outside this folder.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.requirements

ROWS ?= 5000000
CITY ?= .exchange/city

.PHONY: setup run test bench bench-tiny bench-privacy bench-anonymity check lint types airflow requirements docs-tables clean
.DEFAULT_GOAL := run

setup: $(STAMP)

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or later is needed, found " + sys.version'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "Python's venv is missing: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.txt)"
	@echo "Installing the pinned packages into .venv ..."
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --compile-bytecode --requirement requirements.txt
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

run: setup
	@$(BIN)/exchange run

# CI runs the thorough tests too, which show at every point what the others show at some: CI=true make test.
test: setup
	@$(BIN)/python -m pytest $(if $(CI),,-m "not thorough")

# Loading against plain DuckDB; `make bench SIZE=10GB` loads one csv of that size and tells its peak of memory.
bench: setup
	@PYTHONPATH=$(CURDIR) $(BIN)/python bench/loading.py $(if $(SIZE),--size $(SIZE),--rows $(ROWS))

# What a file costs where very many small ones are dropped; `make bench-tiny FILES=100000 ODD=100`.
bench-tiny: setup
	@PYTHONPATH=$(CURDIR) $(BIN)/python bench/tiny.py $(if $(FILES),--files $(FILES)) $(if $(ODD),--odd $(ODD))

# Private marts of a simulated city from delivery to gate: seconds and memory of policies and attacks.
bench-privacy: setup
	@PYTHONPATH=$(CURDIR) $(BIN)/python bench/privacy.py $(if $(HOUSEHOLDS),--households $(HOUSEHOLDS)) $(if $(DAYS),--days $(DAYS))

# k, l and t of hours, days and months of a simulated city beside pyCANON's, which takes its time.
bench-anonymity: setup
	@PYTHONPATH=$(CURDIR) $(BIN)/python bench/privacy.py --households 36000 --days 2 --folder $(CITY)
	@PYTHONPATH=$(CURDIR) $(BIN)/python bench/anonymity.py $(CITY)

check: setup lint types
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/exchange check

lint: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: setup
	@$(BIN)/mypy

airflow: setup
	@$(BIN)/exchange airflow

requirements:
	@$(BIN)/uv pip compile --quiet --no-header --no-annotate --upgrade requirements.in --output-file requirements.txt

# The page of bad deliveries, as the tests find it.
docs-tables: setup
	@WRITE_DOCS=1 $(BIN)/python -m pytest tests/unit/landing/test_bad_deliveries.py

clean:
	rm -rf .exchange lake dbt_project/target dbt_project/logs dbt_project/models/staging dbt_project/models/anonymised/generated
