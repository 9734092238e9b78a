"""The public surface of multiprocessing, and what of it dsmproc has.

An entry is a public name of a module, or a public method or property of a public class. It is there
if dsmproc has it under the same module name, of the same kind and with the same signature; a class
must also be one for which `isinstance` and `issubclass` say of the standard one what the original
says, so code that asks goes on.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

MODULES = (
    "",
    "connection",
    "context",
    "dummy",
    "dummy.connection",
    "forkserver",
    "heap",
    "managers",
    "pool",
    "popen_fork",
    "popen_forkserver",
    "popen_spawn_posix",
    "process",
    "queues",
    "reduction",
    "resource_sharer",
    "resource_tracker",
    "shared_memory",
    "sharedctypes",
    "spawn",
    "synchronize",
    "util",
)


class Entry(NamedTuple):
    module: str
    name: str
    fault: str  # "" if it is as in the original


def module(package: str, name: str) -> types.ModuleType:
    return importlib.import_module(f"{package}.{name}" if name else package)


def public_names(theirs: types.ModuleType) -> list[str]:
    """What the module declares, and what is defined in it or in multiprocessing without a `_`."""
    declared = set(getattr(theirs, "__all__", ()))
    for name, value in vars(theirs).items():
        if name.startswith("_") or isinstance(value, types.ModuleType):
            continue
        home = getattr(value, "__module__", None)
        constant = home is None and name.isupper()
        if constant or (isinstance(home, str) and home.partition(".")[0] == "multiprocessing"):
            declared.add(name)
    return sorted(declared)


def entries() -> Iterator[Entry]:
    for name in MODULES:
        theirs = module("multiprocessing", name)
        try:
            ours = module("dsmproc", name)
        except ModuleNotFoundError as error:
            yield Entry(name, "(the module)", str(error))
            continue
        for public in public_names(theirs):
            yield from _compare(name, public, getattr(theirs, public), ours)


def _compare(where: str, name: str, theirs: Any, ours_module: types.ModuleType) -> Iterator[Entry]:
    try:
        ours = getattr(ours_module, name)
    except AttributeError:
        yield Entry(where, name, "missing")
        return
    yield Entry(where, name, _fault(theirs, ours))
    if not inspect.isclass(theirs) or ours is theirs or not inspect.isclass(ours):
        return
    for method, function in vars(theirs).items():
        if not method.startswith("_"):
            found = inspect.getattr_static(ours, method, None)
            fault = "missing" if found is None else _fault(function, found)
            yield Entry(where, f"{name}.{method}", fault)


def _fault(theirs: Any, ours: Any) -> str:
    if ours is theirs:
        return ""
    if inspect.isclass(theirs):
        if not inspect.isclass(ours):
            return "is not a class"
        if not issubclass(theirs, ours) and not issubclass(ours, theirs):
            return "is no relative of the standard class"
    for kind in (property, staticmethod, classmethod):
        if isinstance(theirs, kind) and not isinstance(ours, kind):
            return f"is no {kind.__name__}"
    if not callable(theirs):
        return ""
    if accepts_all(theirs, ours):
        return ""
    return f"has the signature {inspect.signature(ours)}, not {inspect.signature(theirs)}"


def accepts_all(theirs: Any, ours: Any) -> bool:
    """Whether every call of theirs is one of ours: the same parameters in the same order, but ours
    may have a default where theirs has none, and more parameters that are keywords."""
    try:
        wanted = inspect.signature(theirs).parameters
    except (TypeError, ValueError):  # built in, without one
        return True
    found = inspect.signature(ours).parameters
    keywords = any(p.kind == p.VAR_KEYWORD for p in found.values())
    positional = [p for p in wanted.values() if p.kind <= p.VAR_POSITIONAL]
    for one, other in zip(positional, found.values(), strict=False):
        if one.kind != other.kind or (one.kind != one.VAR_POSITIONAL and one.name != other.name):
            return False
    for name, one in wanted.items():
        other = found.get(name)  # type: ignore[assignment]
        if one.kind == one.VAR_POSITIONAL:
            if not any(p.kind == one.kind for p in found.values()):
                return False
        elif one.kind == one.VAR_KEYWORD or other is None:
            if not keywords:
                return False
        elif (
            one.kind != other.kind or one.default is not one.empty and other.default != one.default
        ):
            return False
    return all(
        name in wanted or p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) or p.default is not p.empty
        for name, p in found.items()
    )


def version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"
