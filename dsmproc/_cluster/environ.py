"""The environment of our own commands, and what people may say in it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Variables with few values. An empty one counts as not set.
CHOICES = {
    "DSMPROC_CONSISTENCY": ("lrc", "scc", "erc", "ec", "sc"),
    "DSMPROC_FAULTS": ("uffd", "uffd-user", "segv"),
    "DSMPROC_FRAME_AUTH": ("auto", "always"),
    "DSMPROC_HOME": ("adaptive", "migrating", "barrier", "first", "fixed", "homeless"),
    "DSMPROC_LOG": ("debug", "info", "warning", "error", "critical"),
    "DSMPROC_METHODS": ("cluster",),
    "DSMPROC_PLACE": ("load", "spread", "remote", "local"),
}


def check_settings(environ: Mapping[str, str]) -> None:
    """ValueError with one sentence if a variable says what we do not understand."""
    for name, allowed in CHOICES.items():
        value = environ.get(name)
        said = value.lower() if value and name == "DSMPROC_LOG" else value
        if said and said not in allowed:
            raise ValueError(f"{name}={value} is none of {', '.join(allowed)}")
    tick = environ.get("DSMPROC_TICK")
    if tick and not _is_count(tick):
        raise ValueError(f"DSMPROC_TICK={tick} is no number of milliseconds (0: no tick)")


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
