"""Modules that a host lacks come from the driver's host, source by source, when imported.

`find` runs in the agent of the driver's host and looks only below the folders that the driver named
(_net/roots.py). `Finder` runs in the workers, behind all ordinary finders, so what is installed on
the host wins. Data files are not shipped.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import marshal
import os
import pkgutil
import threading
import types
from collections.abc import Sequence
from typing import Any

from .._net import wire

# -- the driver's host ------------------------------------------------------------------------


def find(name: str, roots: Sequence[str]) -> dict[str, Any] | None:
    """The module `name` below `roots`: its source (or code), its origin, whether a package."""
    importlib.invalidate_caches()
    parts = name.split(".")
    path: list[str] = list(roots)
    spec = None
    for depth in range(len(parts)):
        spec = _find_in(path, ".".join(parts[: depth + 1]))
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    assert spec is not None
    return _read(name, spec)


def _find_in(path: list[str], name: str) -> importlib.machinery.ModuleSpec | None:
    """As the import system's path finder does, which for nested namespace packages would import
    the outer ones."""
    portions: list[str] = []
    for entry in path:
        finder = pkgutil.get_importer(entry)
        spec = None if finder is None else finder.find_spec(name)
        if spec is not None and spec.loader is not None:
            return spec
        if spec is not None:  # a folder without __init__.py
            portions += spec.submodule_search_locations or []
    if not portions:
        return None
    namespace = importlib.machinery.ModuleSpec(name, None, is_package=True)
    namespace.submodule_search_locations = portions
    return namespace


def _read(name: str, spec: importlib.machinery.ModuleSpec) -> dict[str, Any] | None:
    package = spec.submodule_search_locations is not None
    found: dict[str, Any] = {"package": package, "origin": spec.origin, "source": None}
    loader: Any = spec.loader
    if loader is None or spec.origin is None:  # a namespace package: a folder and no file
        return found if package else None
    if not hasattr(loader, "get_source"):
        return None
    if isinstance(loader, importlib.machinery.ExtensionFileLoader):
        return None  # machine code stays where it was installed
    source = loader.get_source(name)
    if source is None:
        code = loader.get_code(name)
        if code is None:
            return None
        found["code"] = marshal.dumps(code)
    else:
        found["source"] = source
    return found


# -- the worker -------------------------------------------------------------------------------


class Finder(importlib.abc.MetaPathFinder):
    """Asks the driver's host for a module that nobody here knows."""

    def __init__(self, home: tuple[str, int], key: bytes, session: str, host: int) -> None:
        self._home = home
        self._key = key
        self._session = session
        self._host = host  # where we are
        self._lock = threading.Lock()
        self._wire: wire.Wire | None = None
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self._lock = threading.Lock()
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _ask(self, name: str) -> dict[str, Any] | None:
        with self._lock:
            if self._wire is None:
                self._wire = wire.connect_tcp(self._home, "modules", self._key, self._host)
            try:
                answer = self._wire.request((self._session, name))
            except BaseException:  # an answer to this question must not answer the next one
                self._wire.close()
                self._wire = None
                raise
        return answer  # type: ignore[no-any-return]

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        try:
            found = self._ask(fullname)
        except (OSError, EOFError):
            return None  # the driver's host is gone: an ordinary ModuleNotFoundError
        if found is None:
            return None
        spec = importlib.util.spec_from_loader(
            fullname, Loader(found), origin=found["origin"], is_package=found["package"]
        )
        if spec is not None and found["origin"] is not None:
            spec.has_location = True  # __file__ names the file on the driver's host
        return spec


class Loader(importlib.abc.InspectLoader):
    """Runs what the driver's host sent, and shows it to tracebacks."""

    def __init__(self, found: dict[str, Any]) -> None:
        self._found = found

    def is_package(self, fullname: str) -> bool:
        return bool(self._found["package"])

    def get_source(self, fullname: str) -> str | None:
        source: str | None = self._found["source"]
        return source

    def get_code(self, fullname: str) -> types.CodeType | None:
        if "code" in self._found:
            return marshal.loads(self._found["code"])  # type: ignore[no-any-return]
        source = self._found["source"]
        if source is None:
            source = ""
        return compile(source, self._found["origin"] or f"<{fullname}>", "exec", dont_inherit=True)
