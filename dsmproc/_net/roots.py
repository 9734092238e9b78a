"""Where a driver's own modules are; other hosts ask for what is below (_workers/modules.py)."""

from __future__ import annotations

import contextlib
import functools
import os
import site
import sys
import sysconfig


def driver_roots() -> list[str]:
    """Where this driver's own modules are: its script's folder, and all of sys.path that is not
    this interpreter's own or its packages'."""
    roots = _main_folder()
    roots += [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]
    installed = _installed()
    return [root for root in dict.fromkeys(roots) if not _below(root, installed)]


def _main_folder() -> list[str]:
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if file is None:
        return []
    folder = os.path.dirname(os.path.abspath(file))
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m package.module: the folder that holds the package
        for _ in range(spec.name.removesuffix(".__main__").count(".")):
            folder = os.path.dirname(folder)
    return [folder]


@functools.cache
def _installed() -> tuple[str, ...]:
    """The folders of the standard library and of installed packages."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = [sysconfig.get_path(name) for name in names]
    folders.append(os.path.dirname(sysconfig.get_path("stdlib")))  # of python311.zip
    with contextlib.suppress(AttributeError):  # a site module of an old virtualenv
        folders += [*site.getsitepackages(), site.getusersitepackages()]
    return tuple(os.path.abspath(folder) for folder in folders)


def _below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)
