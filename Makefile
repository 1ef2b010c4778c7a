# The verbs of this project, the same by hand and in CI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint docs bench faults soak fuzz lock clean

demo: $(INSTALLED)  ## the whole system on the embedded virtual beamline
	$(BIN)/streamer demo --out demo-output

test: $(INSTALLED)  ## all tests
	$(BIN)/python -m streamer.cli.warming
	$(BIN)/python -m pytest

lint: $(INSTALLED)  ## style, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED)  ## the documentation, into build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(INSTALLED)  ## measure; results go to benchmarks/results
	$(BIN)/python -m benchmarks

faults: $(INSTALLED)  ## hurt a daemon in every known way and say what was lost; into benchmarks/results/faults.json
	$(BIN)/python -m benchmarks.faults

soak: $(INSTALLED)  ## an hour of scans: memory, threads and descriptors must stay flat
	$(BIN)/python -m benchmarks.faults.soak --minutes 60

fuzz: $(INSTALLED)  ## a million mutated messages for every decoder
	$(BIN)/python -m tests.fuzz

lock: $(INSTALLED)  ## renew the hashed lock (all extras but the GPU's)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--extra dev --extra epics --no-annotate --no-header pyproject.toml -o requirements.lock

$(INSTALLED): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) build dist demo-output *.egg-info
