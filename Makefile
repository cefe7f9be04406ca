# Every target sets up what it needs in .venv; nothing else on the machine is touched.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench format clean

demo: .venv/user            ## quantize an embedded model to strict integers and prove it
	$(BIN)/python tools/demo.py

test: .venv/dev             ## all tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: .venv/dev            ## format, lint, types, wheel, tests: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python tools/check_wheel.py
	$(BIN)/python -m pytest -n 2 --dist worksteal

bench: .venv/dev            ## speed of the pass manager and of calibration; ratios, not tests
	$(BIN)/python tools/bench_passes.py
	$(BIN)/python tools/bench_calibration.py

format: .venv/dev           ## let ruff rewrite the sources
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:                      ## remove everything that make made
	rm -rf .venv build dist onnxq.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/user: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ .venv/user
