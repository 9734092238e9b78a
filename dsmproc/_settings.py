"""What people may say in the environment: each variable's values, default and meaning."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from ._os import procs

PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

LEAST_HEARTBEAT = 0.5  # seconds; below, a busy machine looks like a lost one
GREATEST_HEARTBEAT = 3600

MAX_HOSTS = 256  # the core's DSM_MAX_HOSTS (a test compares them): commands do not load it


class Setting(NamedTuple):
    """A variable; docs/settings.md has a row for each (`python -m tests.surface.settings`)."""

    values: str  # for the document: the first is the default
    meaning: str
    read_by: str
    default: str = ""
    choices: tuple[str, ...] = ()


def _choice(choices: str, meaning: str, read_by: str, default: str = "", none: str = "") -> Setting:
    """One of a few values; `none` is what the document calls a default that is no value."""
    allowed = tuple(choices.split())
    first = [none] if none else [f"`{default}`"]
    values = ", ".join(first + [f"`{value}`" for value in allowed if value != default])
    return Setting(values, meaning, read_by, default, allowed)


SETTINGS = {
    "DSMPROC_ADDRESS": Setting(
        "none, `tcp://HOST:PORT`",
        "the cluster to join; `dsmproc run` sets it for the driver",
        "driver, `run`, `status`, `doctor`",
    ),
    "DSMPROC_AUTHKEY_FILE": Setting(
        "`~/.dsmproc/authkey`, a path",
        "the file of the cluster's key, readable by its owner alone ([security.md](security.md))",
        "all",
    ),
    "DSMPROC_CONSISTENCY": _choice(
        "lrc scc erc ec sc",
        "when writes become visible; also `init(consistency=...)` "
        "([memory-model.md](memory-model.md))",
        "master",
        "lrc",
    ),
    "DSMPROC_HOME": _choice(
        "adaptive migrating barrier first fixed blocks homeless",
        "where the pages of new regions live; also `init(home=...)`, "
        "`SharedMemory(..., home=...)` ([policies.md](policies.md))",
        "who makes a region",
        "adaptive",
    ),
    "DSMPROC_PLACE": _choice(
        "load spread remote local",
        "where a new process runs: on the host with the fewest processes for each slot, on each "
        "in turn, on another host than its parent's, on that of its parent",
        "who starts a process",
        "load",
    ),
    "DSMPROC_METHODS": _choice(
        "cluster",
        "`cluster`: the contexts `fork`, `spawn` and `forkserver` mean the cluster, under these "
        "names",
        "driver, workers",
        none="none",
    ),
    "DSMPROC_PATCH": Setting(
        "none, `1`",
        "`import multiprocessing` means dsmproc, in libraries too; `dsmproc run --patch` sets it",
        "driver, workers",
    ),
    "DSMPROC_MEMORY": Setting(
        "half of what the machine or its cgroup has, a size such as `500M` or `2G`, at least `1M`",
        "what pages may take on one host; also `--memory`",
        "agent",
    ),
    "DSMPROC_HEARTBEAT": Setting(
        f"`6`, seconds from {LEAST_HEARTBEAT} to {GREATEST_HEARTBEAT}",
        "silence that makes a host lost; the same on all machines ([failures.md](failures.md))",
        "all",
        "6",
    ),
    "DSMPROC_TICK": Setting(
        "`100`, milliseconds; `0`: none",
        "how often a host looks whether what it polls has changed "
        "([memory-model.md](memory-model.md))",
        "master, agent",
        "100",
    ),
    "DSMPROC_FAULTS": _choice(
        "uffd uffd-user segv",
        "how accesses to pages that are not here are seen",
        "driver, workers",
        none="the best that the machine allows",
    ),
    "DSMPROC_LOG": _choice(
        "debug info warning error critical",
        "the least that master, agents and `dsmproc` itself write to stderr",
        "all commands",
        "warning",
    ),
    "DSMPROC_SSH": Setting(
        "`ssh`, a command with options",
        "how `--hosts` reaches machines: `ssh -F config -p 2222`",
        "`run`, `init`",
        "ssh",
    ),
}
PREFIX = "DSMPROC_"
OWN = {"DSMPROC_DIR", "DSMPROC_SESSION"}  # what our commands tell each other
CHOICES = {name: setting.choices for name, setting in SETTINGS.items() if setting.choices}


def setting(name: str) -> str:
    """What the environment says, or the default. An empty variable counts as not set."""
    return os.environ.get(name) or SETTINGS[name].default


def _unknown(environ: Mapping[str, str]) -> list[str]:
    """The variables that look like settings and are none."""
    known = SETTINGS.keys() | OWN
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def misspelt(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like a setting and is none."""
    known = {name.removeprefix(PREFIX): name for name in SETTINGS}
    sentences = []
    for name in _unknown(environ):
        near = difflib.get_close_matches(name.removeprefix(PREFIX), known, 1)
        hint = f"did you mean {known[near[0]]}?" if near else "docs/settings.md has them all"
        sentences.append(f"{name} is no setting of dsmproc: {hint}")
    return sentences


def check_settings(environ: Mapping[str, str]) -> None:
    """ValueError with one sentence if a variable says what we do not understand."""
    for name, allowed in CHOICES.items():
        value = environ.get(name)
        said = value.lower() if value and name == "DSMPROC_LOG" else value
        if said and said not in allowed:
            raise ValueError(f"{name}={value} is none of {', '.join(allowed)}")
    check_home(
        environ.get("DSMPROC_HOME"),
        environ.get("DSMPROC_CONSISTENCY") or SETTINGS["DSMPROC_CONSISTENCY"].default,
    )
    memory = environ.get("DSMPROC_MEMORY")
    if memory:
        parse_memory(memory)
    beat = environ.get("DSMPROC_HEARTBEAT")
    if beat and not (_is_count(beat) and LEAST_HEARTBEAT <= float(beat) <= GREATEST_HEARTBEAT):
        raise ValueError(
            f"DSMPROC_HEARTBEAT={beat} is no number of seconds from {LEAST_HEARTBEAT} to "
            f"{GREATEST_HEARTBEAT}"
        )
    tick = environ.get("DSMPROC_TICK")
    if tick and not _is_count(tick):
        raise ValueError(f"DSMPROC_TICK={tick} is no number of milliseconds (0: no tick)")


def check_home(home: str | None, model: str) -> None:
    """ValueError with one sentence if the consistency model has no such home policy."""
    if home == "homeless" and model not in ("lrc", "erc"):
        raise ValueError(
            f"home=homeless goes with the consistency models lrc and erc, not with {model}"
        )


UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_memory(text: str) -> int:
    """A number of bytes, as 500M or 2G; ValueError with one sentence."""
    match = re.fullmatch(r"([0-9]+)([KMGT]?)I?B?", text.strip().upper())
    size = int(match[1]) * UNITS[match[2]] if match else 0
    if size < 1 << 20:
        raise ValueError(f"{text!r} is no size of memory: say 500M or 2G, at least 1M")
    return size


def memory_limit() -> int:
    """Bytes that the pages of one host may take: DSMPROC_MEMORY, or half of what there is."""
    said = setting("DSMPROC_MEMORY")
    return parse_memory(said) if said else procs.machine_memory() // 2


def _is_count(text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) and 0 <= value < 1 << 31


def command_environment(settings: dict[str, str]) -> dict[str, str]:
    """Our environment, in which `python -m dsmproc` finds this very package."""
    environ = {**os.environ, **settings}
    environ.pop("DSMPROC_PATCH", None)  # that is for programs
    for name in _unknown(environ):
        del environ[name]  # our caller has said what is wrong with it
    path = environ.get("PYTHONPATH")
    environ["PYTHONPATH"] = PACKAGE_ROOT + (os.pathsep + path if path else "")
    return environ
