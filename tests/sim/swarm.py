"""Many seeds, one after the other, in a child process: an assertion of the core ends only that."""

from __future__ import annotations

import mmap
import multiprocessing
import struct
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .binding import Core, StaleRead, Violation
from .draw import draw
from .mutant import load
from .trace import Trace
from .world import World

RULES = ["ACK", "FLUSH", "CROSSED", "ONE_DIFF", "BYTES", "FETCHED"]
RULES += ["OWED", "TWO_NUMBERS", "CLAIM", "LATE", "OVERLAP", "OTHER_HOST", "LOOK"]
RULES += ["FORWARD", "COUNTED", "SINCE", "ONCE", "WHOLE", "TWINNED", "WATCHED", "APART"]
DEATHS = ["NEWEST", "APPLIED", "KEPT", "CUT"]  # shown by grim worlds
RULES += DEATHS
RULES += ["GRANTED", "SHARED", "OUTER", "OPENED", "KNOWN", "NOTICED"]
HOMELESS = ["TAGGED", "COLLECTED", "MINE", "STAMPED"]  # shown by homeless pages
RULES += [*HOMELESS, "ALONE", "LENT", "ZERO", "OWNER_DIED", "OUTRUN", "LEFT", "GATE"]

# Bugs of what surrounds the core: the engine's, the kernel's, and the edges' in Python.
SLOPPY = {
    "late twin": "a twin is taken when the page is writable already",
    "early map": "a page is mapped before its bytes have come",
    "merged words": "a diff is stored as whole words, over what is written meanwhile",
    "silent edge": "a message leaves without a publish",
}


@dataclass
class Options:
    policy: str | None = None
    off: int | None = None  # number of the rule that is off
    stale: bool = False  # go on after failures of any other kind than a wrong value
    sanitize: bool = False
    all_pages: bool = False
    lines: int = 80
    grim: bool = False  # worlds of few pages whose hosts die or leave
    bands: bool = False  # worlds that iterate
    model: str = "lrc"
    bound: bool = True  # what is used under locks is bound to them (ec)
    sloppy: str = ""  # what surrounds the core does this wrong: one of SLOPPY


def make_core(off: int | None, sanitize: bool = False) -> Core:
    if sanitize:
        return Core(load("_core_sanitized"), exact=True)
    if off is None:
        return Core()
    core = Core(load("_core_mutant"))
    core.lib.dsm_diff_mutate(int(RULES[off] == "BYTES"))
    return core


def run_one(core: Core, seed: int, options: Options, trace: Trace | None = None) -> World:
    params, rng = draw(seed, options.policy, options.grim, options.model, options.bands)
    off = 0 if options.off is None else 1 << options.off
    world = World(params, rng, core, off, trace)
    world.sloppy = options.sloppy
    world.populate()
    if not options.bound:
        world.bound_to.clear()
    world.run()
    world.finale()
    return world


def replay_command(seed: int, options: Options) -> str:
    words = ["python -m tests.sim --seed", str(seed)]
    if options.policy:
        words += ["--policy", options.policy]
    if options.grim:
        words.append("--grim")
    if options.bands:
        words.append("--bands")
    if options.model != "lrc":
        words += ["--model", options.model]
    if options.off is not None:
        words += ["--off", RULES[options.off]]
    return " ".join(words)


def explain(core: Core, seed: int, options: Options) -> tuple[bool, str]:
    """Run the seed again, watched: whether it is right, and its story."""
    trace = Trace()
    try:
        run_one(core, seed, options, trace)
    except Exception as error:
        if not isinstance(error, Violation):
            traceback.print_exc()
        page = None if options.all_pages else getattr(error, "page", None)
        story = trace.story(page, options.lines)
        return False, f"{story}\n\nseed {seed}: {type(error).__name__}: {error}"
    return True, f"seed {seed} is right (if it failed before: the simulator is not deterministic)"


@dataclass
class Result:
    worlds: int = 0
    steps: int = 0
    deliveries: int = 0
    others: int = 0  # failures passed over (Options.stale)
    failed: int | None = None
    text: str = ""
    seconds: float = 0.0

    def add(self, other: Result) -> None:
        self.worlds += other.worlds
        self.steps += other.steps
        self.deliveries += other.deliveries
        self.others += other.others
        self.seconds += other.seconds
        self.failed, self.text = other.failed, other.text


def work(seeds: list[int], options: Options, shared: Any, pipe: Any) -> None:
    core = make_core(options.off, options.sanitize)
    result = Result()
    for seed in seeds:
        struct.pack_into("<qq", shared, 0, seed, result.worlds)
        try:
            world = run_one(core, seed, options)
        except Exception as error:
            if options.stale and not isinstance(error, StaleRead):
                result.others += 1
                continue
            result.failed, result.text = seed, f"{type(error).__name__}: {error}"
            break
        result.worlds += 1
        result.steps += world.steps
        result.deliveries += world.deliveries
    pipe.send(result)
    pipe.close()


def run_seeds(seeds: Iterable[int], options: Options) -> Result:
    """Stops at the first failing seed."""
    shared = mmap.mmap(-1, 16)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    began = time.monotonic()
    child = context.Process(target=work, args=(list(seeds), options, shared, theirs))
    child.start()
    theirs.close()
    try:
        result: Result = ours.recv()
    except EOFError:
        child.join()
        seed, worlds = struct.unpack_from("<qq", shared)
        text = f"the core stopped the process (exit code {child.exitcode}): an assertion"
        result = Result(worlds=worlds, failed=seed, text=text)
    child.join()
    result.seconds = time.monotonic() - began
    return result
