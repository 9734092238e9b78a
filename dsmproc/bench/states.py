"""The states of a page under each home policy, drawn.

    python -m dsmproc.bench states --out docs

Each edge is a line of `COMMON` or of a policy's own below; a state that the core does not have is
refused. The edges are those of the pictures at the top of core/page.c and core/move.c.
"""

from __future__ import annotations

import argparse
import html
import pathlib

from dsmproc._native import _core  # type: ignore[attr-defined]

# Where each state stands in the picture.
PLACES = {
    "ZERO": (80, 60),
    "ABSENT": (80, 230),
    "FETCHING": (260, 230),
    "CLEAN": (440, 230),
    "DIRTY": (440, 60),
    "HOME_PRIVATE": (640, 60),
    "HOME": (640, 230),
    "HOME_DIRTY": (820, 150),
}
# A page without home.
HOMELESS_PLACES = {
    "ZERO": (80, 60),
    "ABSENT": (80, 230),
    "STALE": (640, 230),
    "CLEAN": (440, 60),
    "DIRTY": (260, 60),
}
NOTICE = ("CLEAN", "ABSENT", "notice: thrown away", 70)
COMMON = [
    ("ZERO", "DIRTY", "write", 0),
    ("ZERO", "ABSENT", "notice", 0),
    ("ABSENT", "FETCHING", "fault: GET", 0),
    ("FETCHING", "CLEAN", "PAGE", 0),
    ("CLEAN", "DIRTY", "write: twin", -12),
    ("DIRTY", "CLEAN", "publish: DIFF", -12),
    NOTICE,
    ("HOME_PRIVATE", "HOME", "GET or DIFF: protect", 0),
    ("HOME", "HOME_DIRTY", "write", 0),
    ("HOME_DIRTY", "HOME_PRIVATE", "publish: notice", 0),
]
CLAIM = ("DIRTY", "HOME_PRIVATE", "first publish: claim", 0)
GIVE = ("HOME", "CLEAN", "TAKE of another: given", 0)


def _take(when: str) -> tuple[str, str, str, int]:
    return ("DIRTY", "HOME_PRIVATE", f"TAKE: {when}", -44)


HOMELESS = [
    ("ZERO", "DIRTY", "write", 0),
    ("ZERO", "ABSENT", "notice", 0),
    ("DIRTY", "CLEAN", "publish: diff kept", -12),
    ("CLEAN", "DIRTY", "write: twin", -12),
    ("ABSENT", "STALE", "fault: WANT_BASE, BASE", 0),
    ("CLEAN", "STALE", "notice: closed", -40),
    ("STALE", "CLEAN", "fault: WANT, DIFFS of each writer", -40),
    ("DIRTY", "STALE", "notice: diff kept, closed", 90),
]
POLICIES = {
    "first": [CLAIM],
    "fixed": [],
    "barrier": [CLAIM, _take("at a barrier"), GIVE],
    "migrating": [CLAIM, _take("at every publish"), GIVE],
    "adaptive": [CLAIM, _take("streak or large diff"), GIVE],
    "homeless": HOMELESS,
}


Places = dict[str, tuple[int, int]]


def _edge(places: Places, start: str, end: str, what: str, bend: int, own: bool) -> str:
    (x, y), (u, v) = places[start], places[end]
    length = ((u - x) ** 2 + (v - y) ** 2) ** 0.5
    ex, ey = (u - x) / length, (v - y) / length
    cut_x = min(62 / abs(ex) if ex else 1e9, 18 / abs(ey) if ey else 1e9)
    x, y, u, v = x + ex * cut_x, y + ey * cut_x, u - ex * cut_x, v - ey * cut_x
    mx, my = (x + u) / 2 - ey * bend, (y + v) / 2 + ex * bend
    if not bend or abs(bend) < 20:
        x, y, u, v = x - ey * bend, y + ex * bend, u - ey * bend, v + ex * bend
    colour = "#c3563f" if own else "#555"
    shift = -5 if abs(ey) < 0.5 else 0
    return (
        f'<path d="M{x:.0f} {y:.0f}Q{mx:.0f} {my:.0f} {u:.0f} {v:.0f}" fill="none"'
        f' stroke="{colour}" marker-end="url(#arrow)"/>'
        f'<text x="{(x + 2 * mx + u) / 4:.0f}" y="{(y + 2 * my + v) / 4 + shift:.0f}"'
        f' text-anchor="middle" fill="{colour}">{html.escape(what)}</text>'
    )


def states_of_the_core() -> set[str]:
    names = (_core.lib.dsm_page_state_name(state) for state in range(len(PLACES) + 2))
    return {_core.ffi.string(name).decode() for name in names}


def picture(policy: str) -> str:
    places = HOMELESS_PLACES if policy == "homeless" else PLACES
    strange = set(places) - states_of_the_core()
    if strange:
        raise SystemExit(f"the core has no page state called {', '.join(sorted(strange))}")
    common = [] if policy == "homeless" else COMMON
    parts = [_edge(places, *edge, False) for edge in common]
    parts += [_edge(places, *edge, True) for edge in POLICIES[policy]]
    for state, (x, y) in places.items():
        parts.append(
            f'<rect x="{x - 60}" y="{y - 16}" width="120" height="32" rx="8" fill="#eef4f8"'
            f' stroke="#4c8bb8"/><text x="{x}" y="{y + 4}" text-anchor="middle">{state}</text>'
        )
    inside = "\n".join(parts)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 310" font-family="sans-serif"'
        ' font-size="11">\n<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5"'
        ' markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z"/></marker>'
        f'</defs>\n<rect width="100%" height="100%" fill="white"/>\n{inside}\n</svg>\n'
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m dsmproc.bench states", description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of protocols.md")
    args = parser.parse_args(arguments)
    (args.out / "pictures").mkdir(exist_ok=True)
    for policy in POLICIES:
        (args.out / "pictures" / f"{policy}.svg").write_text(picture(policy))
    return 0
