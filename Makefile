# The verbs of this project, the same by hand and in CI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/.demo
INSTALLED := $(VENV)/.installed
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header pyproject.toml
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

ALONE := echo "these failed beside others; once more, alone (docs/decisions/0019):" && \
	$(BIN)/python -m pytest --collect-only -qq >/dev/null && \
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none --maxfail 5

.PHONY: demo test lint docs dashboards web-bundle bench faults batch soak fuzz readers lock clean

demo: $(DEMO)  ## the whole system on the embedded virtual beamline
	$(BIN)/streamer demo --out demo-output

test: $(INSTALLED)  ## all tests
	$(BIN)/python -m compileall -q streamer plans # once, not in each of the processes that tests start
	$(BIN)/python -m streamer.cli.warming
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder || { test $$? -eq 1 && $(ALONE); }

lint: $(INSTALLED)  ## style, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED)  ## the documentation, into build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

dashboards: $(INSTALLED)  ## write the dashboards anew, after a change of dashboards/source
	$(BIN)/python -m dashboards.source

web-bundle:  ## the volume rendering of the page anew, with Node.js; only after a change of frontend
	cd frontend && npm ci --ignore-scripts --no-audit --no-fund && npm run build

bench: $(INSTALLED)  ## measure; results go to benchmarks/results
	$(BIN)/python -m benchmarks

faults: $(INSTALLED)  ## hurt a daemon in every known way and say what was lost; into benchmarks/results/faults.json
	$(BIN)/python -m benchmarks.faults

batch: $(INSTALLED)  ## a night of 300 samples with every fault, alone; into benchmarks/results/batch.json
	$(BIN)/python -m benchmarks.batch

soak: $(INSTALLED)  ## an hour of scans: memory, threads and descriptors must stay flat
	$(BIN)/python -m benchmarks.faults.soak --minutes 60 --every 1

readers: $(INSTALLED)  ## have other programs open our files, each in an environment of its own (downloads 2 GB)
	$(BIN)/python -m benchmarks.readers

fuzz: $(INSTALLED)  ## a million mutated messages for every decoder
	$(BIN)/python -m tests.fuzz

lock: $(INSTALLED)  ## renew the hashed locks: all extras but the GPU's, and what the demo needs of them
	$(LOCK) --extra dev --extra epics --extra pva --extra tiled -o requirements.lock
	echo 'setuptools>=77' | $(LOCK) - --extra plans --extra gui --extra epics -c requirements.lock -o requirements-demo.lock

$(DEMO): requirements-demo.lock pyproject.toml
$(INSTALLED): requirements.lock pyproject.toml
$(DEMO) $(INSTALLED):
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing $< into $(VENV), which takes minutes"
	$(INSTALL) --require-hashes -r $<
	$(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) build dist demo-output *.egg-info
