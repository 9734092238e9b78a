"""What is read before an `await` may be another value after it."""

from __future__ import annotations

import ast
from pathlib import Path

import dsmproc

FILES = sorted(Path(dsmproc.__file__).parent.rglob("*.py"))


def stale(source: str) -> list[int]:
    """Lines that store in an attribute what they read there before they awaited something."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Assign | ast.AugAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = {ast.unparse(target) for target in targets if isinstance(target, ast.Attribute)}
        parts = list(ast.walk(node.value))
        reads = {ast.unparse(part) for part in parts if isinstance(part, ast.Attribute)}
        if isinstance(node, ast.AugAssign):
            reads |= names
        if names & reads and any(isinstance(part, ast.Await) for part in parts):
            found.append(node.lineno)
    return found


def test_no_attribute_is_written_with_what_it_was_before_an_await() -> None:
    assert len(FILES) > 50
    assert [(path.name, stale(path.read_text(encoding="utf-8"))) for path in FILES] == [
        (path.name, []) for path in FILES
    ]


def test_that_is_found() -> None:
    assert stale("async def f(a):\n a.b = max(a.b, await g())") == [2]
    assert stale("async def f(a):\n a.b += await g()") == [2]
    assert stale("async def f(a):\n a.b = await g()\n a.b = max(a.b, 1)") == []
