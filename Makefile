# Everything runs in a virtual environment of its own, made when it is first needed.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
C_FILES = $(wildcard dsmproc/_native/*/*.[ch] dsmproc/_native/*/*/*.[ch])
NATIVE = $(C_FILES) dsmproc/_native/build.py setup.py pyproject.toml

.PHONY: help demo test test-user bench compat compat-cpython compat-cpython-tests compatibility races soak check clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 8

$(VENV)/built: $(NATIVE)
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q -e '.[dev]'
	touch $@

demo: $(VENV)/built ## word count, matrix product and lock races on three local hosts, with figures
	$(RUN) examples/demo.py

test: $(VENV)/built ## all tests (less than 8 minutes on 2 cores)
	$(RUN) -m pytest -n 3 --dist loadgroup tests

USER_TESTS ?= tests/memory/test_transfers.py tests/memory/test_kernel_copies.py \
	tests/memory/test_shared_memory.py tests/messages/test_pipes.py tests/messages/test_queues.py \
	tests/pool/test_pool.py tests/faults/test_redirected.py

test-user: $(VENV)/built ## the demo, memory, channels and pool as an ordinary user (2 minutes; root becomes uid 65534)
	$(RUN) -m tests.soak.users $(RUN) examples/demo.py
	$(RUN) -m tests.soak.users $(RUN) -m pytest -p no:cacheprovider -n 2 --dist loadgroup $(USER_TESTS)

bench: $(VENV)/built ## what one operation costs, against floors and peers
	$(RUN) -m dsmproc.bench

compat: $(VENV)/built ## programs nobody here wrote, on three hosts
	$(RUN) -m pip install -q -e '.[compat]'
	$(RUN) -m tests.compat.table

compat-cpython: compat-cluster compat-fork compat-spawn compat-forkserver ## CPython's own tests of multiprocessing, on three hosts and on none (with -j4: 5 minutes)

compat-cpython-tests: $(VENV)/built
	$(RUN) -m tests.compat.cpython_fetch

compat-cluster: compat-cpython-tests
	$(RUN) -m tests.compat.cpython --mode cluster

compat-%: compat-cpython-tests
	$(RUN) -m tests.compat.cpython --mode local --method $*

compatibility: $(VENV)/built ## this Python's rows of the tables in docs/compatibility.md
	$(RUN) -m tests.surface.table
	$(RUN) -m tests.surface.methods

failures: $(VENV)/built ## every failure in every state; writes the table of docs/failures.md
	$(RUN) -m tests.failures.matrix

races: $(VENV)/built ## nested locks on three hosts with a log, over every model, home policy and fault mechanism
	$(RUN) -m tests.sync.racelog

MINUTES ?= 3
SEED ?= 1

soak: $(VENV)/built ## programs drawn from a grammar, each with an oracle, beside hogs and jitter (MINUTES=3 SEED=1)
	$(RUN) -m tests.soak --minutes $(MINUTES) --seed $(SEED)

check: $(VENV)/built ## formatting, lint and types
	$(RUN) -m ruff format --check dsmproc tests examples setup.py
	$(RUN) -m ruff check dsmproc tests examples setup.py
	$(RUN) -m mypy
	clang-format-14 --dry-run --Werror $(C_FILES)

-include tests/sim.mk

clean: ## remove what was built
	rm -rf build $(VENV) *.egg-info dsmproc/_native/*.so dsmproc/_native/_core.c dsmproc/_native/_engine.c
