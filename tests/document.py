"""Generated tables of the documents: rows with a key between two marks.

A run replaces the rows that it has made and leaves the others, so each Python writes its own.
"""

from __future__ import annotations

import fcntl
import os
import re

DOCS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs")
COMPATIBILITY = "compatibility.md"
METHODS = "generated/methods.md"


def update(table: str, key: str, row: str, document: str = COMPATIBILITY) -> None:
    """The row of the table whose first cell is `key` becomes `row`."""
    with open(os.path.join(DOCS, document), "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # several runs may end at the same time
        text = replaced(file.read(), table, key, row)
        file.seek(0)
        file.truncate()
        file.write(text)


def replaced(text: str, table: str, key: str, row: str) -> str:
    start, end = f"<!-- {table}: generated -->\n", f"<!-- end of {table} -->"
    before, _, rest = text.partition(start)
    body, _, after = rest.partition(end)
    lines = body.splitlines()
    head, rows = lines[:2], lines[2:]
    rows = [one for one in rows if first_cell(one) != key] + [row]
    rows.sort(key=lambda one: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", one)])
    body = "\n".join([*head, *rows]) + "\n"
    return before + start + body + end + after


def first_cell(row: str) -> str:
    return row.split("|")[1].strip()
