"""`--patch`: `import multiprocessing` means dsmproc in a whole program, libraries included.

Nothing is put in the place of the standard library's modules. Our default context becomes that of
multiprocessing, and the public names that need no context are bound to ours. The contexts of the
standard start methods stay what they are: `get_context("spawn").Lock()` is the standard one.

In the driver this happens before the first import, by a folder on PYTHONPATH that has a
`sitecustomize` (_startup/); in a worker, before the first unpickle. Processes that the program
starts by other ways inherit PYTHONPATH and are patched as well.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

__all__ = ["FOLDER", "VARIABLE", "environment", "install", "wanted"]

VARIABLE = "DSMPROC_PATCH"
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_startup")

# Classes and functions that programs take from the submodules and call without a context.
NAMES = {
    "connection": ("Client", "Listener", "wait"),
    "heap": ("BufferWrapper",),
    "managers": ("BaseManager", "SharedMemoryManager", "SyncManager"),
    "pool": ("Pool",),
    "reduction": ("recv_handle", "send_handle"),
    "shared_memory": ("ShareableList", "SharedMemory"),
    "sharedctypes": ("Array", "RawArray", "RawValue", "Value", "copy"),
}


def wanted() -> bool:
    return bool(os.environ.get(VARIABLE))


def environment() -> dict[str, str]:
    """What a process that is to be patched has in its environment."""
    path = os.environ.get("PYTHONPATH", "")
    entries = [entry for entry in path.split(os.pathsep) if entry and entry != FOLDER]
    return {VARIABLE: "1", "PYTHONPATH": os.pathsep.join([FOLDER, *entries])}


def install() -> None:
    """Patch this process, and what it starts."""
    from . import _std
    from .context import default_context

    os.environ.update(environment())
    for submodule in NAMES:
        importlib.import_module(f"multiprocessing.{submodule}")
        importlib.import_module(f"dsmproc.{submodule}")
    _std.keep_standard_contexts()
    _std.replace_default_context(default_context)
    for submodule, names in NAMES.items():
        theirs = sys.modules[f"multiprocessing.{submodule}"]
        ours: Any = sys.modules[f"dsmproc.{submodule}"]
        for name in names:
            setattr(theirs, name, getattr(ours, name))
