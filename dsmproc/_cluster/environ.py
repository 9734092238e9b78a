"""The environment of our own commands."""

from __future__ import annotations

import os

PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def command_environment(settings: dict[str, str]) -> dict[str, str]:
    """Our environment, in which `python -m dsmproc` finds this very package."""
    environ = {**os.environ, **settings}
    path = environ.get("PYTHONPATH")
    environ["PYTHONPATH"] = PACKAGE_ROOT + (os.pathsep + path if path else "")
    return environ
