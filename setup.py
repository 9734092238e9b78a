"""Only what pyproject.toml cannot say: the protocol core as one static library, and two extensions.

`_engine` (the product) and `_core` (the door through which the simulator steps the protocol) link
the same object files of the core, so what the simulator proves is what runs.
"""

import runpy

from setuptools import setup

build = runpy.run_path("dsmproc/_native/build.py")

setup(
    libraries=[
        (
            "dsmcore",
            {
                "sources": build["CORE_SOURCES"],
                "include_dirs": ["dsmproc/_native"],
                "cflags": build["CFLAGS"],
                "obj_deps": {"": build["HEADERS"]},
            },
        )
    ],
    cffi_modules=[f"dsmproc/_native/build.py:{name}" for name in build["MODULES"]],
)
