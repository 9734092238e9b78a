"""Other builds of the core, for the simulator alone: one in which rules can be switched off
(-DDSM_MUTATE), one with the address and undefined-behaviour sanitizers.

They are kept in a cache directory named by the hash of their sources, and never installed.
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
FLAGS = {
    "_core_mutant": ["-DDSM_MUTATE", "-O2"],
    "_core_sanitized": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
}


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dsmproc-tests"


def key(name: str) -> str:
    digest = hashlib.sha256((sys.version + name).encode())
    for path in sorted(CORE.rglob("*.[ch]")) + [Path(__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def build(name: str, to: Path) -> None:
    ffi = cffi.FFI()
    old = os.getcwd()
    os.chdir(ROOT)  # build.py speaks of paths from the root
    try:
        header = runpy.run_path("dsmproc/_native/build.py")["declarations"]("core/core.h")
    finally:
        os.chdir(old)
    more = "void dsm_diff_mutate(int on);" if name == "_core_mutant" else ""
    ffi.cdef(header + more)
    ffi.set_source(
        name,
        '#include "core/core.h"\n' + more,
        sources=[str(path) for path in sorted(CORE.rglob("*.c"))],
        include_dirs=[str(CORE.parent)],
        extra_compile_args=["-std=c17", "-g", "-UNDEBUG", *FLAGS[name]],
        extra_link_args=FLAGS[name][1:],
    )
    ffi.compile(tmpdir=str(to))


def load(name: str) -> Any:
    """The module; built at the first use after a change of the core."""
    home = cache() / key(name)
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=home.parent))
        try:
            build(name, work)
            os.rename(work, home)  # another process may have been faster
        except OSError:
            if not home.exists():
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    (path,) = home.glob(name + "*.so")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
