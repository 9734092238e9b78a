"""The core does no I/O, reads no clock, allocates nothing: the linker would need names for that."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("purity")  # one process compiles the core, not two
POLICIES = ("first", "fixed", "barrier", "migrating", "adaptive", "homeless", "policy")
ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "dsmproc" / "_native" / "core"
ALLOWED = {"memcpy", "memmove", "memset", "memcmp", "__assert_fail", "_GLOBAL_OFFSET_TABLE_"}
ALLOWED |= {"__popcountdi2"}  # of the compiler: counts bits


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The core compiled as the product compiles it (paths there are from the root)."""
    flags = runpy.run_path(str(ROOT / "dsmproc/_native/build.py"))["CFLAGS"]
    made = []
    for source in sorted(CORE.rglob("*.c")):
        name = "_".join(source.relative_to(CORE).with_suffix(".o").parts)
        made.append(tmp_path_factory.mktemp("core") / name)
        include = f"-I{CORE.parent}"
        subprocess.run(["cc", *flags, include, "-c", str(source), "-o", made[-1]], check=True)
    return made


def names(objects: list[Path], *options: str) -> set[str]:
    text = subprocess.run(
        ["nm", "-P", *options, *objects], check=True, capture_output=True, text=True
    ).stdout
    return {line.split()[0] for line in text.splitlines() if line and not line.endswith(":")}


def test_the_core_needs_nothing_but_memory_functions(objects: list[Path]) -> None:
    needed = names(objects, "--undefined-only")
    own = names(objects, "--defined-only", "--extern-only")
    assert needed - own <= ALLOWED
    assert own and all(name.startswith("dsm_") for name in own)


def test_the_core_keeps_nothing_between_steps(objects: list[Path]) -> None:
    """No writable data: the state is in the arena, so that it can be copied."""
    text = subprocess.run(
        ["size", "--format=berkeley", *objects], check=True, capture_output=True, text=True
    ).stdout
    tables = {"host_check.o"} | {f"policy_{name}.o" for name in POLICIES}
    for line in text.splitlines()[1:]:
        _, data, bss, *_, name = line.split()
        # tables of pointers are data only because the library is position independent
        assert bss == "0" and (data == "0" or Path(name).name in tables), line
