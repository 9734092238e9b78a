"""Only what pyproject.toml cannot say: core and engine as static libraries, and two extensions.

`_engine` (the product) and `_core` (the door through which the simulator steps the protocol) link
the same object files of the core, so what the simulator proves is what runs.
"""

import os
import runpy
import shlex
import shutil
import sysconfig

from setuptools import setup
from setuptools.command.build import build
from setuptools.command.build_clib import build_clib

native = runpy.run_path("dsmproc/_native/build.py")
COMPILER = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
PYTHON_H = os.path.join(sysconfig.get_path("include"), "Python.h")


def check_tools() -> None:
    """Say in one sentence what is missing, before a compiler says it in many."""
    if shutil.which(shlex.split(COMPILER)[0]) is None:
        raise SystemExit(
            f"dsmproc needs a C compiler, and there is no {COMPILER!r}: apt install gcc, "
            "dnf install gcc, or set CC"
        )
    if not os.path.exists(PYTHON_H):
        raise SystemExit(
            f"dsmproc needs Python's headers, and there is no {PYTHON_H}: "
            "apt install python3-dev, or dnf install python3-devel"
        )


class Build(build):
    def run(self) -> None:
        check_tools()
        super().run()


class BuildLibraries(build_clib):
    """An editable installation builds no other way than by this."""

    def run(self) -> None:
        check_tools()
        super().run()


def library(name: str, sources: list[str]) -> tuple[str, dict]:
    return name, {
        "sources": sources,
        "include_dirs": ["dsmproc/_native"],
        "cflags": native["CFLAGS"],
        "obj_deps": {"": native["HEADERS"]},
    }


setup(
    cmdclass={"build": Build, "build_clib": BuildLibraries},
    # In the order of linking: the engine calls the core.
    libraries=[
        library("dsmengine", native["ENGINE_SOURCES"]),
        library("dsmcore", native["CORE_SOURCES"]),
    ],
    cffi_modules=[f"dsmproc/_native/build.py:{name}" for name in native["MODULES"]],
)
