"""python -m tests.surface.settings: the table of docs/settings.md, from dsmproc/_settings.py."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import document  # noqa: E402

from dsmproc._settings import SETTINGS, Setting  # noqa: E402


def row(name: str, setting: Setting) -> str:
    return f"| `{name}` | {setting.values} | {setting.meaning} | {setting.read_by} |"


if __name__ == "__main__":
    for name, setting in SETTINGS.items():
        document.update("settings", f"`{name}`", row(name, setting), "settings.md")
