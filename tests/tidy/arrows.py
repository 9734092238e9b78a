"""Who uses whom among the C files: circles of files, and arrows that run upwards.

    python -m tests.tidy.arrows [--list]

An arrow runs from the file that uses a name to the file that defines it. A circle is a set of files
of which each reaches every other by arrows. The header of a folder lists its files, the ground
first; an arrow upwards runs to a file that the list has later, or to a folder that is not below.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "dsmproc" / "_native"

# A folder, and those whose files its own may use.
BELOW = {
    "core": (),
    "core/policy": ("core",),
    "core/host": ("core", "core/policy"),
    "core/master": ("core", "core/policy"),
    "sys": (),
    "client": ("core", "sys"),
    "engine": ("core", "core/host", "core/master", "sys"),
}
# The header that lists the files of its folder, each as "/* ---- file.c: what it is".
LISTS = {
    "core/host": "core/host/host.h",
    "core/master": "core/master/master.h",
    "engine": "engine/engine.h",
}

Arrows = dict[str, dict[str, set[str]]]  # user -> definer -> the names

_COMMENT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
_HEAD = re.compile(r"^(?!typedef|enum|union)([A-Za-z_][\w \t*]*?)\b(\w+)\(", re.MULTILINE)
_DATA = re.compile(r"^const struct \w+ (\w+) = ", re.MULTILINE)
_NAME = re.compile(r"(?<!struct )(?<!enum )\bdsm\w+")
_LISTED = re.compile(r"^/\* ---- (\w+)\.c\b", re.MULTILINE)


def sources() -> list[Path]:
    """All but what cffi writes."""
    return sorted(path for path in NATIVE.rglob("*.c") if path.parent != NATIVE)


def code(path: Path) -> str:
    """The file's text without comments and strings; its lines stay."""
    text = path.read_text(encoding="utf-8")
    return _COMMENT.sub(lambda match: " " + "\n" * match.group().count("\n"), text)


def functions(text: str) -> Iterator[tuple[str, str, int]]:
    """The functions of a .c file: its words before the name, the name, how many lines it has."""
    for match in _HEAD.finditer(text):
        body = re.compile(r"[;{]").search(text, match.end())
        if body and body.group() == "{":
            end = text.index("\n}", match.start())
            yield match.group(1), match.group(2), text.count("\n", match.start(), end) + 2


def defined(text: str) -> set[str]:
    """The names that a .c file defines for others."""
    named = {name for words, name, _ in functions(text) if "static" not in words.split()}
    return named | set(_DATA.findall(text))


def arrows(files: Iterable[Path]) -> Arrows:
    texts = {path.relative_to(NATIVE).as_posix(): code(path) for path in files}
    home = {name: file for file, text in texts.items() for name in defined(text)}
    found: Arrows = {file: {} for file in texts}
    for file, text in texts.items():
        for name in set(_NAME.findall(text)):
            definer = home.get(name, file)
            if definer != file:
                found[file].setdefault(definer, set()).add(name)
    return found


def circles(found: Arrows) -> list[list[str]]:
    """The strongly connected components of more than one file (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    result: list[list[str]] = []

    def visit(file: str) -> None:
        index[file] = low[file] = len(index)
        stack.append(file)
        for other in sorted(found[file]):
            if other not in index:
                visit(other)
                low[file] = min(low[file], low[other])
            elif other in stack:
                low[file] = min(low[file], index[other])
        if low[file] == index[file]:
            at = stack.index(file)
            part, stack[at:] = stack[at:], []
            if len(part) > 1:
                result.append(sorted(part))

    for file in sorted(found):
        if file not in index:
            visit(file)
    return result


def folder(file: str) -> str:
    return file.rpartition("/")[0]


def order(where: str) -> list[str]:
    """The files of a folder as its header lists them; those that it does not name are above."""
    if where not in LISTS:
        return []
    text = (NATIVE / LISTS[where]).read_text(encoding="utf-8")
    return [f"{where}/{name}.c" for name in _LISTED.findall(text)]


def is_upwards(user: str, definer: str) -> bool:
    if folder(user) != folder(definer):
        return folder(definer) not in BELOW[folder(user)]
    listed = order(folder(user))
    if not listed or user not in listed:
        return bool(listed) and definer not in listed
    return definer not in listed or listed.index(definer) > listed.index(user)


def upwards(found: Arrows) -> list[str]:
    return [
        f"{user} -> {definer}: {' '.join(sorted(names))}"
        for user, definers in sorted(found.items())
        for definer, names in sorted(definers.items())
        if is_upwards(user, definer)
    ]


def main() -> None:
    found = arrows(sources())
    up, round_ = upwards(found), circles(found)
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in sources())
    total = sum(len(definers) for definers in found.values())
    print(f"{len(found)} files, {lines} lines, {total} arrows")
    print(f"{len(up)} upwards", *up, sep="\n    ")
    print(
        f"{len(round_)} circles",
        *(f"{len(part)}: {' '.join(part)}" for part in round_),
        sep="\n    ",
    )
    if "--list" in sys.argv[1:]:
        for user, definers in sorted(found.items()):
            print(user, "->", " ".join(sorted(definers)))


if __name__ == "__main__":
    main()
