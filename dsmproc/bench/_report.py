"""The figures of `protocols` as Markdown and as plots."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

from . import _plots, _reference

Figures = dict[str, dict[str, dict[str, Any]]]  # system -> program -> counter -> value

BEGIN, END = "<!-- figures of {} -->", "<!-- end of figures of {} -->"


def _programs(figures: Figures) -> list[str]:
    names: dict[str, None] = {}
    for rows in figures.values():
        names.update(dict.fromkeys(rows))
    return list(names)


def _rows(figures: Figures) -> Iterator[list[str]]:
    for program in _programs(figures):
        if program in _reference.FIGURES:
            systems, least = _reference.FIGURES[program]
            for system, (messages, size) in zip(_reference.SYSTEMS, systems, strict=True):
                yield [program, system, "", f"{messages}", "", f"{size:.2f}", "", "", "", ""]
            yield [program, "*least data*", "", "", "", f"{least:.1f}", "", "", "", ""]
        for system, rows in figures.items():
            if program not in rows:
                yield [program, f"`{system}`", "failed", *[""] * 7]
                continue
            row = rows[program]
            yield [
                program,
                f"`{system}`",
                f"{row['seconds']:.2f}",
                f"{row['messages_sent']:.0f}",
                f"{row['frames_sent']:.0f}",
                f"{row['bytes_sent'] / 1e6:.2f}",
                f"{row['read_faults']:.0f} + {row['write_faults']:.0f}",
                f"{row['pages_fetched']:.0f}",
                f"{row['diffs_sent']:.0f}",
                f"{row['home_migrations']:.0f}",
            ]


def table(where: str, figures: Figures) -> str:
    heads = "program|system|seconds|messages|parts|MB|faults r + w|pages fetched|diffs|home moves"
    lines = [f"{where}.", "", f"| {heads.replace('|', ' | ')} |", "|" + " --- |" * 10]
    lines += ["| " + " | ".join(row) + " |" for row in _rows(figures)]
    return "\n".join(lines)


def goals(figures: Figures, system: str = "adaptive") -> str:
    """The default beside the best of the three, and beside the least data."""
    lines = [
        f"| program | MB, `{system}` | best of the three | ratio | least data | ratio |"
        f" messages, `{system}` | best of the three | ratio |",
        "|" + " --- |" * 9,
    ]
    for program, row in figures.get(system, {}).items():
        if program not in _reference.FIGURES:
            continue
        messages, size = _reference.best(program)
        least, sent = _reference.least(program), row["bytes_sent"] / 1e6
        lines.append(
            f"| {program} | {sent:.2f} | {size:.2f} | {sent / size:.2f} | {least:.1f} |"
            f" {f'{sent / least:.2f}' if least else ''} | {row['messages_sent']:.0f} | {messages} |"
            f" {row['messages_sent'] / messages:.2f} |"
        )
    return "\n".join(lines)


def replace(document: pathlib.Path, name: str, text: str) -> None:
    """Put a text between its two marks of a document."""
    begin, end = BEGIN.format(name), END.format(name)
    before, _, rest = document.read_text().partition(begin)
    old, mark, after = rest.partition(end)
    if not mark:
        raise SystemExit(f"{document}: no place for the figures of {name}")
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def write(folder: pathlib.Path, where: str, figures: Figures) -> None:
    replace(folder / "results.md", "goals", goals(figures))
    replace(folder / "generated" / "programs.md", "protocols", table(where, figures))
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    programs = [name for name in _programs(figures) if name in _reference.FIGURES]
    shown = [name for name in programs if name in ("mm", "merge", "rx", "buck", "lu", "sor")]
    for what, title, value in (
        ("seconds", "Seconds of the main part, `first` = 1", lambda row: row["seconds"]),
        ("messages", "Messages, `first` = 1", lambda row: row["messages_sent"]),
        ("bytes", "Bytes, `first` = 1", lambda row: row["bytes_sent"]),
    ):
        _draw_bars(pictures / f"{what}.svg", title.replace("`", ""), shown, figures, what, value)


def _draw_bars(
    path: pathlib.Path, title: str, programs: list[str], figures: Figures, what: str, value: Any
) -> None:
    series: dict[str, list[float | None]] = {}
    found: list[Any]
    base: list[Any] = [
        value(figures["first"][p]) if p in figures.get("first", {}) else None for p in programs
    ]
    at = {"messages": 0, "bytes": 1}.get(what)
    if at is not None:
        for number, system in enumerate(_reference.SYSTEMS):
            found = [_reference.FIGURES[p][0][number][at] * (1e6 if at else 1) for p in programs]
            series[system] = [f / b if b else None for f, b in zip(found, base, strict=True)]
    for system, rows in figures.items():
        found = [value(rows[p]) if p in rows else None for p in programs]
        series[system] = [f / b if f and b else None for f, b in zip(found, base, strict=True)]
    path.write_text(_plots.bars(title, programs, series))
