"""The house stays tidy: files and functions are short, and files use only what is below them."""

from __future__ import annotations

import re

import pytest

from . import arrows

NATIVE = [*arrows.sources(), *sorted(arrows.NATIVE.rglob("*.h"))]


@pytest.fixture(scope="module")
def found() -> arrows.Arrows:
    return arrows.arrows(arrows.sources())


def test_no_file_of_the_core_reaches_back_to_one_that_uses_it(found: arrows.Arrows) -> None:
    assert [part for part in arrows.circles(found) if part[0].startswith("core/")] == []


def test_arrows_run_downwards(found: arrows.Arrows) -> None:
    assert arrows.upwards(found) == []


def test_the_lists_name_every_file_that_others_use(found: arrows.Arrows) -> None:
    used = {definer for definers in found.values() for definer in definers}
    for where in arrows.LISTS:
        within = {file for file in used if arrows.folder(file) == where}
        outside = {where + "/step.c", where + "/check.c"}  # the core's interface: core.h
        assert within - outside <= set(arrows.order(where))


def test_files_and_functions_are_short() -> None:
    long = []
    for path in NATIVE:
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 600:
            long.append(f"{path.name}: {len(text.splitlines())} lines")
        if path.suffix == ".c":
            for _, name, lines in arrows.functions(arrows.code(path)):
                if lines > 80:
                    long.append(f"{path.name}: {name} has {lines} lines")
    assert long == []


def test_no_line_is_longer_than_100_columns() -> None:
    assert [
        f"{path.relative_to(arrows.NATIVE)}:{number}"
        for path in NATIVE
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 100
    ] == []


_FILE = re.compile(
    r"(?<!<)\b(?:(?:core|host|master|policy|engine|client|sys|include)/)+\w+\.[ch]\b"
)
_FUNCTION = re.compile(r"\bdsm_\w+")


def test_documents_name_files_and_functions_that_exist() -> None:
    """And so do the comments, where they name a file with its folder."""
    files = [path.relative_to(arrows.NATIVE).as_posix() for path in NATIVE]
    code = "\n".join(arrows.code(path) for path in NATIVE)
    known = set(_FUNCTION.findall(code))
    documents = [*arrows.ROOT.glob("*.md"), *arrows.ROOT.glob("docs/*.md")]
    documents.append(arrows.NATIVE / "README.md")
    wrong = []
    for path in [*documents, *NATIVE]:
        text = path.read_text(encoding="utf-8")
        for name in _FILE.findall(text):
            if not any(file == name or file.endswith("/" + name) for file in files):
                wrong.append(f"{path.name}: {name}")
        if path.suffix == ".md":
            wrong += [f"{path.name}: {name}" for name in set(_FUNCTION.findall(text)) - known]
    assert wrong == []


# What else a file may call its functions than dsm_<file>_…: what it holds, or a word of the ground.
WORDS = {
    "core/arena.c": "map queue",
    "core/pack.c": "packed unpack",
    "core/wire.c": "act cursor get8 get16 get32 get64 patch16 put8 put16 put32 put64 send sent",
    "core/host/check.c": "page",
    "core/host/jobs.c": "count reply",
    "core/host/pagetable.c": "region",
    "core/master/objects.c": "asker",
    "core/master/pagetable.c": "mregion version",
    "sys/control.c": "word",
    "sys/cores.c": "clock runnable yield",
    "sys/loop.c": "eventfd timer",
    "sys/net.c": "frame frames",
}


def test_functions_are_named_for_their_file() -> None:
    """dsm_<file>_… (page*.c: dsm_page_…), or dsm_<folder>_…; at the master dsm_m<file>_… where the
    host has such a file. What begins with dsmproc_ is declared in dsmproc_api.h."""
    wrong = []
    for path in arrows.sources():
        file = path.relative_to(arrows.NATIVE).as_posix()
        allowed = {arrows.folder(file).rpartition("/")[2], *WORDS.get(file, "").split()}
        if file.startswith("core/master/"):
            allowed.add("m" + path.stem)
        for name in arrows.defined(arrows.code(path)):
            prefix, word, *_ = name.split("_")
            if prefix == "dsm" and word not in allowed and not path.stem.startswith(word):
                wrong.append(f"{file}: {name}")
    assert wrong == []
