"""The modules of the interpreter's package `test`, under this name; see the package above."""

from __future__ import annotations

import builtins
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any

HERE = __name__
THEIRS = "test"
REPLACED = "multiprocessing"


def _import(
    name: str,
    globals: Any = None,
    locals: Any = None,
    fromlist: Any = (),
    level: int = 0,
) -> Any:
    """What `import` means in these modules."""
    if level == 0 and name.partition(".")[0] == REPLACED:
        name = "dsmproc" + name[len(REPLACED) :]
    return __import__(name, globals, locals, fromlist, level)


class _Loader(importlib.abc.Loader):
    def __init__(self, theirs: importlib.machinery.ModuleSpec) -> None:
        self._theirs = theirs

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        loader: Any = self._theirs.loader
        source = loader.get_data(self._theirs.origin)
        module.__file__ = self._theirs.origin
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import}
        exec(compile(source, str(self._theirs.origin), "exec"), vars(module))


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith(HERE + "."):
            return None
        theirs = importlib.util.find_spec(THEIRS + name[len(HERE) :])
        if theirs is None:
            return None
        spec = importlib.machinery.ModuleSpec(name, _Loader(theirs), origin=theirs.origin)
        spec.submodule_search_locations = theirs.submodule_search_locations
        return spec


sys.meta_path.insert(0, _Finder())
