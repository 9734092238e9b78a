"""The environment of our own commands, and what people may say in it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping

from ._os import procs

PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

LEAST_HEARTBEAT = 0.5  # seconds; below, a busy machine looks like a lost one
GREATEST_HEARTBEAT = 3600

# Variables with few values. An empty one counts as not set.
CHOICES = {
    "DSMPROC_CONSISTENCY": ("lrc", "scc", "erc", "ec", "sc"),
    "DSMPROC_FAULTS": ("uffd", "uffd-user", "segv"),
    "DSMPROC_HOME": ("adaptive", "migrating", "barrier", "first", "fixed", "blocks", "homeless"),
    "DSMPROC_LOG": ("debug", "info", "warning", "error", "critical"),
    "DSMPROC_METHODS": ("cluster",),
    "DSMPROC_PLACE": ("load", "spread", "remote", "local"),
}

MODELS = ("lrc", "ec", "scc", "erc", "sc")


def check_settings(environ: Mapping[str, str]) -> None:
    """ValueError with one sentence if a variable says what we do not understand."""
    for name, allowed in CHOICES.items():
        value = environ.get(name)
        said = value.lower() if value and name == "DSMPROC_LOG" else value
        if said and said not in allowed:
            raise ValueError(f"{name}={value} is none of {', '.join(allowed)}")
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
    said = os.environ.get("DSMPROC_MEMORY")
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
    path = environ.get("PYTHONPATH")
    environ["PYTHONPATH"] = PACKAGE_ROOT + (os.pathsep + path if path else "")
    return environ
