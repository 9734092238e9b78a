"""Who imports whom in the package, whenever it does: at the top, in a function, or for annotations.

    python -m tests.tidy.imports

A room is a package of dsmproc, or one of its modules that is in none.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "dsmproc"

Graph = dict[str, set[str]]


def modules() -> dict[str, Path]:
    """Name -> file; the benchmarks are users of the package, and no part of it."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[1] != "bench":
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def graph() -> Graph:
    known = modules()
    return {name: set(_imported(name, path, known)) - {name} for name, path in known.items()}


def _imported(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for one in node.names:
                inner = f"{base}.{one.name}"
                if inner in known or base in known:
                    yield inner if inner in known else base


def room(module: str) -> str:
    return (module.split(".") + [""])[1]


def rooms(of: Graph) -> Graph:
    found: Graph = {}
    for user, used in of.items():
        found.setdefault(room(user), set()).update(room(one) for one in used)
    return {user: used - {user} for user, used in found.items()}


def in_circles(of: Graph) -> list[str]:
    """Those that reach themselves."""
    return sorted(name for name in of if name in _reached(of, name))


def _reached(of: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    left = [start]
    while left:
        for one in of.get(left.pop(), set()) - seen:
            seen.add(one)
            left.append(one)
    return seen


if __name__ == "__main__":
    whole = graph()
    print("modules in circles:", *in_circles(whole) or ["none"])
    for user, used in sorted(rooms(whole).items()):
        print(f"{user or 'dsmproc'}: {' '.join(sorted(used))}")
