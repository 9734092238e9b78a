# The simulator, the fuzzers and the sanitizers. Included by the Makefile.
CORE_C = $(wildcard dsmproc/_native/core/*.c dsmproc/_native/core/*/*.c)
CORE_H = $(wildcard dsmproc/_native/core/*.h dsmproc/_native/core/*/*.h)
FUZZERS = host master diff pack wire
DECODERS = wire diff pack
# A landing must not depend on luck: .ci/run says FUZZ_LIMIT="-seed=1 -runs=50000".
FUZZ_LIMIT ?= -max_total_time=20
SEEDS ?= 0:20000
POLICIES = first fixed blocks barrier migrating adaptive homeless
# Worlds whose hosts die or leave.
GRIM ?= 30000:31000
# Worlds that iterate.
BANDS ?= 0:1000
CLANG ?= clang
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all
STRICT = -std=c17 -g -O1 -Wall -Wextra -Wconversion -Wshadow -Werror -UNDEBUG -Idsmproc/_native
LIBASAN = $(shell gcc -print-file-name=libasan.so)

# For each policy of HOMES and each model of MODELS, so many steps; the seeds from FIRST on.
STEPS ?= 100000000
FIRST ?= 1000000
HOMES ?= $(POLICIES)
MODELS ?= scc erc ec sc

.PHONY: sim swarm litmus fuzz fuzz-decoders asan

sim: $(VENV)/built ## many random worlds of the protocol (SEEDS=0:20000), for each home policy and model
	for policy in $(POLICIES); do \
	    $(RUN) -m tests.sim --policy $$policy --seeds $(SEEDS) || exit 1; \
	    $(RUN) -m tests.sim --policy $$policy --grim --seeds $(GRIM) || exit 1; done
	for model in scc erc ec sc; do \
	    $(RUN) -m tests.sim --model $$model --seeds $(SEEDS) || exit 1; done
	for model in scc erc sc; do \
	    $(RUN) -m tests.sim --model $$model --grim --seeds $(GRIM) || exit 1; done
	$(RUN) -m tests.sim --policy adaptive --bands --seeds $(BANDS)

swarm: $(VENV)/built ## new random worlds, STEPS=100000000 of HOMES="..." and of MODELS="...", FIRST=seed (an hour each)
	for policy in $(HOMES); do echo "policy $$policy"; \
	    $(RUN) -m tests.sim --policy $$policy --seeds $(FIRST): --steps $(STEPS) || exit 1; done
	for model in $(MODELS); do echo "model $$model"; \
	    $(RUN) -m tests.sim --model $$model --seeds $(FIRST): --steps $(STEPS) || exit 1; done

litmus: $(VENV)/built ## the litmus programs with too many orders for the tests, to their ends (6 minutes)
	$(RUN) -m tests.sim.whole

build/fuzz_%: tests/fuzz/fuzz_%.c $(wildcard tests/fuzz/*.[ch]) $(CORE_C) $(CORE_H)
	mkdir -p build
	$(CLANG) $(STRICT) $(SANITIZE) -fsanitize=fuzzer $< $(CORE_C) -o $@

.PRECIOUS: build/fuzz_%

# New inputs go to build/corpus_*; tests/fuzz/corpus is what is kept.
fuzz-%: build/fuzz_%
	mkdir -p build/corpus_$*
	build/fuzz_$* $(FUZZ_LIMIT) -timeout=10 -max_len=8192 -print_final_stats=0 \
	    -verbosity=0 -artifact_prefix=build/crash_$*_ build/corpus_$* tests/fuzz/corpus/$*

# What a peer's bytes meet first: the same 10 million inputs each time, some microseconds an input.
decode-%: build/fuzz_%
	mkdir -p build/decoders_$*
	build/fuzz_$* -seed=1 -runs=10000000 -timeout=10 -max_len=600 -verbosity=0 \
	    -print_final_stats=1 -artifact_prefix=build/crash_$*_ \
	    build/decoders_$* tests/fuzz/corpus/$*

fuzz-decoders: $(DECODERS:%=decode-%) ## 10,000,000 inputs each for the decoders of messages, diffs and packed pages

fuzz: $(FUZZERS:%=fuzz-%) ## each fuzzer for 20 seconds (FUZZ_LIMIT=-max_total_time=20)

asan: $(VENV)/built $(FUZZERS:%=build/fuzz_%) ## core, wire and simulator under address and UB sanitizers
	for f in $(FUZZERS); do build/fuzz_$$f -runs=0 -verbosity=0 tests/fuzz/corpus/$$f || exit 1; done
	LD_PRELOAD=$(LIBASAN) PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 \
	    $(RUN) -m tests.sim --sanitize --seeds 0:1200
