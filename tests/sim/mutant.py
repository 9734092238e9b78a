"""The core's second build, for the simulator alone: -DDSM_MUTATE, where rules can be switched off.

It is kept in a cache directory named by the hash of its sources, and never installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import runpy
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import cffi

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "dsmproc" / "_native" / "core"
NAME = "_core_mutant"


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dsmproc-tests"


def key() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(CORE.glob("*.[ch]")) + [Path(__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def build(to: Path) -> None:
    ffi = cffi.FFI()
    old = os.getcwd()
    os.chdir(ROOT)  # build.py speaks of paths from the root
    try:
        header = runpy.run_path("dsmproc/_native/build.py")["declarations"]("core/core.h")
    finally:
        os.chdir(old)
    ffi.cdef(header + "void dsm_diff_mutate(int on);")
    ffi.set_source(
        NAME,
        '#include "core/core.h"\nvoid dsm_diff_mutate(int on);',
        sources=[str(path) for path in sorted(CORE.glob("*.c"))],
        include_dirs=[str(CORE.parent)],
        define_macros=[("DSM_MUTATE", "1")],
        extra_compile_args=["-std=c17", "-O2", "-g", "-UNDEBUG"],
    )
    ffi.compile(tmpdir=str(to))


def load() -> Any:
    """The module; built at the first use after a change of the core."""
    home = cache() / key()
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=home.parent))
        try:
            build(work)
            os.rename(work, home)  # another process may have been faster
        except OSError:
            if not home.exists():
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    (path,) = home.glob(NAME + "*.so")
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
