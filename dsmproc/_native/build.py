"""The cffi builder: one header per extension, real .c files, warnings are errors."""

import glob
import os
import re

import cffi

HERE = "dsmproc/_native"
CFLAGS = ["-std=c17", "-O2", "-g", "-fPIC", "-fvisibility=hidden", "-D_GNU_SOURCE"]
CFLAGS += ["-UNDEBUG"]  # assertions stay on in the product: our own invariants always hold
CFLAGS += ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
CORE_SOURCES = sorted(glob.glob(f"{HERE}/core/**/*.c", recursive=True))
HEADERS = sorted(glob.glob(f"{HERE}/**/*.h", recursive=True))
ENGINE_SOURCES = sorted(
    source for folder in ("sys", "engine", "client") for source in glob.glob(f"{HERE}/{folder}/*.c")
)
MODULES = ["core", "engine"]


def declarations(header: str) -> str:
    """The header without its preprocessor lines: the subset of C that cffi reads."""
    with open(os.path.join(HERE, header), encoding="ascii") as file:
        return "".join(line for line in file if not line.startswith("#"))


def enums(header: str) -> str:
    """Its constants alone: Python speaks of statuses and counters, not of the core's functions."""
    return "".join(re.findall(r"^enum \{.*?\};\n", declarations(header), re.DOTALL | re.MULTILINE))


def builder(name: str, declared: str, *headers: str) -> cffi.FFI:
    ffi = cffi.FFI()
    ffi.cdef(declared)
    # cffi's own generated C converts freely, so the strict flags go to our files only: setup.py
    # makes them into static libraries, of which each extension takes what it calls.
    ffi.set_source(
        f"dsmproc._native.{name}",
        "".join(f'#include "{header}"\n' for header in headers),
        include_dirs=[HERE],
        depends=HEADERS + CORE_SOURCES + ENGINE_SOURCES,
        extra_compile_args=["-std=c17", "-O2", "-g", "-D_GNU_SOURCE", "-Wall", "-Wextra"]
        + ["-Wno-unused-parameter", "-Wno-missing-field-initializers"],
    )
    return ffi


def core() -> cffi.FFI:
    return builder("_core", declarations("core/core.h"), "core/core.h")


def engine() -> cffi.FFI:
    api = "include/dsmproc_api.h"
    return builder("_engine", enums("core/core.h") + declarations(api), "core/core.h", api)
