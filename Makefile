# Every habit of the project. `make help` lists them; each does its own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
# tflite-runtime 2.14.0 needs numpy 1, so it lives in an environment of its own.
VENV_TFLITE ?= .venv-tflite
# What `make bench-peers` compares with; nothing else needs it.
VENV_PEERS ?= .venv-peers
# What opens the files of `deploy profile --save`: Model Explorer, Perfetto's engine, pandas.
VENV_VIEWERS ?= .venv-viewers
# All of the project and TensorFlow, which `deploy` does not need otherwise.
VENV_TENSORFLOW ?= .venv-tensorflow
# The base and labgrid, which `deploy` does not need.
VENV_LABGRID ?= .venv-labgrid
# The generator of the documentation's site and its link checker.
VENV_DOCS ?= .venv-docs
PYTHON ?= $(shell command -v python3.11 || echo python3)
DEPLOY := $(VENV)/bin/deploy
PYTEST := $(VENV)/bin/python -m pytest
# A lock file names every package that it needs, each with its hashes: pip resolves and builds nothing.
LOCKED := -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: --requirement

# What the toolchain calls; the compilers are the ones that the figures in docs/ were measured with.
DEBIAN_PACKAGES := ca-certificates ccache cmake debian-archive-keyring g++ g++-aarch64-linux-gnu \
  g++-arm-linux-gnueabihf ninja-build patch python3-venv qemu-system-arm qemu-user xz-utils
DEBIAN_PACKAGES_DEV := busybox clang-format-14 fish git llvm-19 openssh-client openssh-server tcsh \
  valgrind

.PHONY: help
help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## ?(.*)/\1\t\2/' | expand -t 18

.PHONY: packages packages-dev
packages:  ## Debian packages: installed when root, else the line to run
	@.ci/debian-packages $(DEBIAN_PACKAGES)
packages-dev: packages
	@.ci/debian-packages $(DEBIAN_PACKAGES_DEV)

# PyTorch: the build for CPUs, where pip finds it; else that for GPUs, with some GB of packages.
$(VENV)/.runtime: requirements.lock requirements-cpu.lock requirements-cuda.lock pyproject.toml | packages
	@echo "set-up: Python packages into $(VENV) (about 2 GB)"; \
	$(PYTHON) -m venv $(VENV); \
	$(VENV)/bin/python $(LOCKED) requirements.lock; \
	$(VENV)/bin/python $(LOCKED) requirements-cpu.lock || { \
	  echo "set-up: pip finds no build of PyTorch for CPUs, so that for GPUs is taken (some GB)"; \
	  $(VENV)/bin/python $(LOCKED) requirements-cuda.lock; }; \
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	touch $@; echo "set-up: Python packages took $$SECONDS s"

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock | packages-dev
	$(VENV)/bin/python $(LOCKED) requirements-dev.lock
	@touch $@

$(VENV_TFLITE)/.done: tests/tflite-runtime.lock | packages
	$(PYTHON) -m venv $(VENV_TFLITE)
	$(VENV_TFLITE)/bin/python $(LOCKED) $<
	@touch $@

$(VENV_PEERS)/.done: requirements-peers.lock | packages
	$(PYTHON) -m venv $(VENV_PEERS)
	$(VENV_PEERS)/bin/python $(LOCKED) $<
	@touch $@

$(VENV_VIEWERS)/.done: tests/viewers/requirements.lock | packages
	@.ci/debian-packages nodejs
	$(PYTHON) -m venv $(VENV_VIEWERS)
	$(VENV_VIEWERS)/bin/python $(LOCKED) $<
	@touch $@

$(VENV_TENSORFLOW)/.done: requirements.lock requirements-cpu.lock requirements-dev.lock tests/frameworks/tensorflow.lock | packages
	$(PYTHON) -m venv $(VENV_TENSORFLOW)
	for lock in $^; do $(VENV_TENSORFLOW)/bin/python $(LOCKED) $$lock; done
	@touch $@

$(VENV_LABGRID)/.done: tests/labgrid_places/requirements.lock | packages
	$(PYTHON) -m venv $(VENV_LABGRID)
	$(VENV_LABGRID)/bin/python $(LOCKED) $<
	@touch $@

$(VENV_DOCS)/.done: docs/site.lock | packages
	$(PYTHON) -m venv $(VENV_DOCS)
	$(VENV_DOCS)/bin/python $(LOCKED) $<
	@touch $@

.PHONY: setup
setup: packages $(VENV)/.runtime  ## the environment that `deploy` runs in

.PHONY: demo
demo: setup  ## build, convert, boot, push, classify, profile: one command, no board needed
	$(DEPLOY) demo

.PHONY: test test-all lint host-bundle test-unit test-native test-report test-emulated xnnpack-tests
test: lint docs host-bundle test-all xnnpack-tests  ## everything that CI runs

# In one run the tests of one kind work where those of another wait. Ray leaves threads in a worker;
# tests that fork one, to play a user, do not bear that. So its tests run apart.
RAY_TESTS := tests/unit/sweep/test_cluster.py tests/unit/sweep/test_ray_ranks.py
test-all: $(VENV)/.dev $(VENV_TFLITE)/.done  ## unit, native, report and emulated; those of Ray apart
	$(PYTEST) --numprocesses 5 --dist loadfile --no-loadscope-reorder --durations 40 \
	  $(addprefix --ignore=,$(RAY_TESTS)) tests/unit tests/native tests/browser tests/emulated
	$(PYTEST) --numprocesses 2 --dist loadfile $(RAY_TESTS)

FORMATTED := 'runtime_patch/*.c' 'runtime_patch/*.cc' 'runtime_patch/*.h' 'tests/*.cc' 'tests/*.c'
lint: $(VENV)/.dev  ## ruff, mypy, import-linter, clang-format, clang-tidy, the limits of hooks
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache
	clang-format-14 --dry-run --Werror $$(git ls-files $(FORMATTED))
	$(VENV)/bin/python -m toolchain.dev.hook_limits
	$(VENV)/bin/python -m toolchain.dev.tidy $$(git ls-files $(FORMATTED))

host-bundle: $(VENV)/.dev  ## the runtime for this machine: conversions, those of tests too, are tried on it
	$(DEPLOY) build --board host

test-unit: $(VENV)/.dev  ## no compiler, no emulator; many wait, so there are more workers than cores
	$(PYTEST) --numprocesses 4 --dist worksteal tests/unit

test-native: $(VENV)/.dev $(VENV_TFLITE)/.done  ## the runtime built for this machine
	$(PYTEST) --numprocesses 3 --dist worksteal tests/native

test-report: $(VENV)/.dev  ## the page of deploy report in Chromium, by Node.js; skipped where one of them is missing
	$(PYTEST) tests/browser

test-emulated: $(VENV)/.dev  ## cross-built, on the emulated board and under qemu-user
	$(PYTEST) --numprocesses 3 --dist loadfile --no-loadscope-reorder tests/emulated

.PHONY: test-viewers
test-viewers: host-bundle $(VENV_VIEWERS)/.done  ## what is saved of a profile, in Perfetto's engine, Model Explorer and pandas; not in test, it needs them
	$(PYTEST) tests/viewers

.PHONY: test-labgrid
test-labgrid: $(VENV)/.dev $(VENV_LABGRID)/.done  ## a place of labgrid as a board, with labgrid itself; not in test, it needs that
	$(PYTEST) tests/labgrid_places

.PHONY: test-tensorflow
TENSORFLOW_TESTS := tests/unit/keras tests/unit/convert/from_tensorflow tests/frameworks
test-tensorflow: $(VENV_TENSORFLOW)/.done  ## Keras networks with masks, and models of TensorFlow converted; not in test, it needs another framework
	$(VENV_TENSORFLOW)/bin/python -m pytest $(TENSORFLOW_TESTS)

.PHONY: test-armv7
test-armv7: $(VENV)/.dev  ## the runtime of 32-bit boards; not in test, it compiles for ten minutes once
	$(PYTEST) --armv7 -k armv7 tests/emulated
	$(VENV)/bin/python -m toolchain.dev.xnnpack_tests --isa armv7

xnnpack-tests: $(VENV)/.dev  ## XNNPACK's own convolution tests on the patched library
	$(VENV)/bin/python -m toolchain.dev.xnnpack_tests --isa x86-64
	$(VENV)/bin/python -m toolchain.dev.xnnpack_tests --isa aarch64

.PHONY: runtime-tree runtime-build runtime-save
RUNTIME_TREE := $(VENV)/bin/python -m toolchain.dev.runtime_tree
runtime-tree: $(VENV)/.dev  ## the runtime's sources laid out to be edited: docs/development/edit-runtime.md (RUNTIME_TREE_OPTIONS)
	$(RUNTIME_TREE) make $(RUNTIME_TREE_OPTIONS)

runtime-build: $(VENV)/.dev  ## compile what was edited there
	$(RUNTIME_TREE) build

runtime-save: $(VENV)/.dev  ## write it back to runtime_patch
	$(RUNTIME_TREE) save

.PHONY: sanitize
SANITIZED := $(PYTEST) tests/native --sanitizer
sanitize: $(VENV)/.dev  ## the patched runtime with ASan, UBSan and TSan; not in test, it compiles XNNPACK twice
	$(VENV)/bin/python -m toolchain.dev.xnnpack_tests --isa x86-64 --sanitizer address
	$(SANITIZED) address
	$(VENV)/bin/python -m toolchain.dev.xnnpack_tests --isa x86-64 --sanitizer thread
	$(SANITIZED) thread

.PHONY: faults fuzz
IN_TESTS := PYTHONPATH=tests $(VENV)/bin/python
faults: $(VENV)/.dev  ## inject 3,100 faults, and write which were borne: docs/faults.md (FAULTS_OPTIONS)
	$(DEPLOY) build --board host
	$(DEPLOY) build --board qemu
	$(IN_TESTS) -m faults --jobs 3 --page docs/faults.md $(FAULTS_OPTIONS)

FUZZED := build/fuzz/models
$(VENV)/.fuzz: $(VENV)/.dev tests/fuzz/requirements.lock
	@.ci/debian-packages clang-14 libclang-rt-14-dev
	$(VENV)/bin/python $(LOCKED) tests/fuzz/requirements.lock
	@touch $@

fuzz: $(VENV)/.fuzz  ## mutated models through the reader, and through the runner with AddressSanitizer: an hour
	$(VENV)/bin/pip download --quiet --disable-pip-version-check --no-deps --dest build/fuzz mediapipe==0.10.21
	$(IN_TESTS) -m fuzz.models $(FUZZED) build/fuzz/mediapipe-*.whl
	$(DEPLOY) build --board host
	$(IN_TESTS) -m fuzz.sanitized
	$(IN_TESTS) -m fuzz reader --count 100000 $(FUZZED)
	$(IN_TESTS) -m fuzz runner --count 20000 $(FUZZED)
	$(IN_TESTS) -m fuzz.guided 300 $(FUZZED)

$(VENV)/.mutants: $(VENV)/.dev tests/mutation/requirements.lock
	$(VENV)/bin/python $(LOCKED) tests/mutation/requirements.lock
	@touch $@

.PHONY: mutants
mutants: $(VENV)/.mutants  ## change the code in 750 places, and tell which tests notice: docs/development/mutants.md (MUTANTS_OPTIONS)
	$(IN_TESTS) -m mutation $(MUTANTS_OPTIONS)

.PHONY: bench bench-compare bench-peers bench-threads bench-boards
BENCH := $(VENV)/bin/python -m toolchain.dev.bench
bench: setup  ## what masks gain, five networks: docs/bench.md (BENCH_OPTIONS=--quick: less)
	$(BENCH) run $(BENCH_OPTIONS)

OLD ?= docs/bench.json
NEW ?= build/bench/bench.json
bench-compare: setup  ## what got worse between the results OLD and NEW
	$(BENCH) compare $(OLD) $(NEW)

bench-peers: setup $(VENV_TFLITE)/.done $(VENV_PEERS)/.done  ## other runtimes beside ours: docs/bench-peers.md
	$(BENCH) peers --tflite-python $(VENV_TFLITE)/bin/python --peers-python $(VENV_PEERS)/bin/python $(BENCH_OPTIONS)

bench-threads: setup $(VENV_TFLITE)/.done  ## several threads beside busy processes: docs/bench-threads.md
	$(BENCH) threads --tflite-python $(VENV_TFLITE)/bin/python $(BENCH_OPTIONS)

bench-boards: setup  ## what masks gain on boards, estimated: docs/bench-boards.md, an hour or two (BENCH_OPTIONS)
	$(BENCH) boards $(BENCH_OPTIONS)

.PHONY: figures
figures: setup  ## measure what repeats exactly, and write the figures of README.md and docs/ anew
	$(VENV)/bin/python -m toolchain.dev.figures --measure

.PHONY: reference docs
reference: $(VENV)/.dev  ## write the parts of docs/reference that follow from the code
	$(VENV)/bin/python -m toolchain.dev.reference

docs: $(VENV_DOCS)/.done  ## the documentation as a site in build/docs; fails on a warning or a dead link
	rm -rf build/docs
	$(VENV_DOCS)/bin/zensical build --strict --clean --config-file .zensical.toml
	$(VENV_DOCS)/bin/lychee --offline --no-ignore --include-fragments=full --no-progress --exclude-path 'sitemap\.xml$$' \
	  --root-dir "$(CURDIR)/build/docs" build/docs README.md docs

.PHONY: checkpoints
checkpoints: setup  ## train the committed Fashion-MNIST checkpoints again
	mkdir -p build/train
	for v in dense s20 s30; do $(DEPLOY) train toolchain/train/recipes/fashion_resnet_$$v.toml \
	  --run-dir build/train/$$v --output toolchain/zoo/checkpoints/fashion_resnet_$$v.safetensors; done

.PHONY: experiment
experiment: setup  ## what each kind of mask costs in accuracy: docs/experiment.md (an hour of two cores)
	$(VENV)/bin/python -m toolchain.dev.experiment

.PHONY: lock
lock:  ## write the lock files anew from pyproject.toml (LOCK_OPTIONS=--upgrade: the newest versions)
	$(PYTHON) -m toolchain.dev.locks $(LOCK_OPTIONS)

.PHONY: release
release:  ## dist/: wheel and sdist, and the wheel tried in an environment of its own
	$(PYTHON) -m toolchain.dev.release

.PHONY: format
format: $(VENV)/.dev  ## lay the code out
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	clang-format-14 -i $$(git ls-files $(FORMATTED))

.PHONY: clean
clean:  ## remove what was built here; the cache outside the tree stays
	rm -rf .cache build dist *.egg-info $(VENV) $(VENV_TFLITE) $(VENV_PEERS) $(VENV_VIEWERS) $(VENV_TENSORFLOW) $(VENV_DOCS)
