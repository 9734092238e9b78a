"""Runs at the start of an interpreter that finds this folder on its path: see _patch.py."""

import os
import sys


def _patch() -> None:
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    if not os.environ.get("DSMPROC_PATCH"):
        return
    root = os.path.dirname(os.path.dirname(folder))
    sys.path.append(root)
    try:
        from dsmproc import _patch

        _patch.install()
    except BaseException:  # an interpreter goes on after this; the program must not, unpatched
        import traceback

        traceback.print_exc()
        sys.stderr.write("dsmproc: multiprocessing could not be patched\n")
        os._exit(1)
    sys.path.remove(root)


def _next() -> None:
    """The sitecustomize that this one stands before."""
    this = sys.modules.pop("sitecustomize")
    try:
        import sitecustomize  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
        sys.modules["sitecustomize"] = this  # the import of this one goes on


_patch()
_next()
