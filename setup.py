"""Only what pyproject.toml cannot say: core and engine as static libraries, and two extensions.

`_engine` (the product) and `_core` (the door through which the simulator steps the protocol) link
the same object files of the core, so what the simulator proves is what runs.
"""

import runpy

from setuptools import setup

build = runpy.run_path("dsmproc/_native/build.py")


def library(name: str, sources: list[str]) -> tuple[str, dict]:
    return name, {
        "sources": sources,
        "include_dirs": ["dsmproc/_native"],
        "cflags": build["CFLAGS"],
        "obj_deps": {"": build["HEADERS"]},
    }


setup(
    # In the order of linking: the engine calls the core.
    libraries=[
        library("dsmengine", build["ENGINE_SOURCES"]),
        library("dsmcore", build["CORE_SOURCES"]),
    ],
    cffi_modules=[f"dsmproc/_native/build.py:{name}" for name in build["MODULES"]],
)
