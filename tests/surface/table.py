"""python -m tests.surface.table: this Python's row of the table in docs/compatibility.md."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import document
import surface

import dsmproc  # what is not there at all has no row


def main() -> int:
    assert dsmproc.__all__
    found = list(surface.entries())
    missing = [e for e in found if e.fault]
    for one in missing:
        print(f"{one.module or 'multiprocessing'}: {one.name} {one.fault}")
    modules = len({e.module for e in found})
    row = f"| {surface.version()} | {modules} | {len(found) - len(missing)} | {len(found)} |"
    document.update("surface", surface.version(), row)
    print(row)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
