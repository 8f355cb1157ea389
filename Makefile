# Needs python3 (3.11 or newer), pip and make; everything else goes into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
UV_VERSION := 0.13.9
TORCH_VERSION := 2.13.0

# Set TORCH_INDEX_URL to choose a build of torch, for instance one without CUDA.
TORCH_INDEX := $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL))

CODE := $(wildcard controlplane schedulers cloud_adapters migrations tests benchmarks examples)
BENCHMARKS := $(patsubst benchmarks/%.py,%,$(wildcard $(addprefix benchmarks/,submit.py dispatch.py memory.py throughput.py listing.py restart.py inventory.py claims.py copy.py serve.py train.py batch.py scheduling.py)))

# Among how many processes `make test` and `make verify` share the tests out.
PROCESSES = 2

# How long `make soak` goes on.
SECONDS = 1800

# Every run starts hundreds of processes that import this code: a machine-wide wish to keep no compiled files would
# have each of them compile it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch comes through pip: it honours index settings of the machine that uv does not read.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11; set PYTHON"; exit 1; }
	@echo "setting up .venv; the first time this takes minutes"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	@$(BIN)/pip install --quiet $(TORCH_INDEX) torch==$(TORCH_VERSION)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

# An environment of its own: TensorFlow and PyTorch want different versions of the same libraries.
.venv-tensorflow/ready: controlplane/recipes/learning/mirrored/requirements.txt $(READY)
	@$(PYTHON) -m venv .venv-tensorflow
	@$(BIN)/uv pip install --quiet --python .venv-tensorflow/bin/python -r $<
	@touch $@

# Beside the libraries that are there already: its own list would bring another torch.
.venv-torchserve/ready: $(READY)
	@$(PYTHON) -m venv .venv-torchserve
	@$(BIN)/uv pip install --quiet --python .venv-torchserve/bin/python --no-deps torchserve==0.12.0 psutil pillow
	@$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' > "$$(.venv-torchserve/bin/python -c 'import site; print(site.getsitepackages()[0])')/main.pth"
	@touch $@

.PHONY: demo
demo: $(READY) ## from nothing to a trained model: server, embedded Ray, a training job, a kill in the middle
	$(BIN)/crossdock demo

.PHONY: story
story: $(READY) ## a large model: trained over two machines, moved from cloud to cloud, published, served; takes root
	$(BIN)/python -m tests.e2e.large_model

.PHONY: test
test: $(READY) ## the tests of every landing
	$(BIN)/pytest -m "not verify and not soak" -n $(PROCESSES) --dist loadgroup

.PHONY: check
check: $(READY) ## format, lint, types, import contracts, house rules, generated files
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy --strict $(CODE)
	$(BIN)/lint-imports
	$(BIN)/python -m tests.house_rules
	$(BIN)/python -m controlplane.admin.generate --check

.PHONY: verify
verify: export CROSSDOCK_REQUIRE ?= browser,haproxy,postgres,ray,tensorflow,torch,torchserve
verify: $(READY) .venv-tensorflow/ready .venv-torchserve/ready ## everything that can be proven on one machine; an absent part is a failure
	$(BIN)/pytest -m "not soak" -n $(PROCESSES) --dist loadgroup

.PHONY: soak
soak: export CROSSDOCK_SOAK_SECONDS = $(shell expr $(SECONDS) / 6)
soak: $(READY) ## seeds that nobody has run yet for SECONDS=1800, histories of scheduling for half of that, planted bugs, real kills for a sixth
	$(BIN)/python -m tests.sim soak $(SECONDS)
	$(BIN)/python -m tests.sim.scheduling soak $(shell expr $(SECONDS) / 2)
	$(BIN)/python -m tests.sim plants --steps 300
	$(BIN)/pytest -m soak --timeout=0

.PHONY: bench
bench: $(READY) ## every benchmark, one after the other
	@for module in $(BENCHMARKS); do echo "== benchmarks.$$module"; $(BIN)/python -m benchmarks.$$module; done

.PHONY: lock
lock: $(READY) ## compile requirements.lock from pyproject.toml
	$(BIN)/uv pip compile -q --extra server --extra training --group dev pyproject.toml -o requirements.lock \
	  --python-version 3.11 --no-header --universal
