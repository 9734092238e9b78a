"""The states of a page under each home policy and each consistency model, drawn.

    python -m dsmproc.bench states --out docs

Each edge is a line of `COMMON` or of a policy's own below; a state that the core does not have is
refused. The edges are those of the pictures at the top of core/host/page.c, move.c, homeless.c and
single.c. A model is drawn with homes that stay; its edges stand for the common ones between the
same states.
"""

from __future__ import annotations

import argparse
import html
import pathlib

from .._native import _core  # type: ignore[attr-defined]

# Where each state stands in the picture.
PLACES = {
    "ZERO": (80, 60),
    "ABSENT": (80, 230),
    "FETCHING": (290, 230),
    "CLEAN": (490, 230),
    "DIRTY": (490, 60),
    "HOME_PRIVATE": (790, 60),
    "HOME": (790, 230),
    "HOME_DIRTY": (1000, 145),
}
# A page without home.
HOMELESS_PLACES = {
    "ZERO": (80, 60),
    "ABSENT": (80, 230),
    "STALE": (640, 230),
    "CLEAN": (440, 60),
    "DIRTY": (260, 60),
}
# One writer, or several readers.
SINGLE_PLACES = {
    "ZERO": (80, 60),
    "ABSENT": (80, 230),
    "CLEAN": (790, 230),
    "HOME_PRIVATE": (490, 60),
    "HOME": (790, 60),
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
MODELS = {
    "lrc": [CLAIM],
    "scc": [
        CLAIM,
        ("CLEAN", "ABSENT", "grant of a lock under which it was written", 70),
        ("HOME_DIRTY", "HOME", "publish: notice, watched", 60),
        ("HOME_DIRTY", "HOME_PRIVATE", "", 0),
    ],
    "erc": [
        CLAIM,
        ("CLEAN", "ABSENT", "release elsewhere: thrown away, KNOWN", 70),
        ("HOME_DIRTY", "HOME_PRIVATE", "release: notice, all KNOWN", 0),
    ],
    "ec": [CLAIM, ("CLEAN", "ABSENT", "grant of its own lock, or no lock's acquire", 70)],
    "sc": [
        ("ZERO", "HOME_PRIVATE", "NEED, OWN: touched first", 0),
        ("ABSENT", "CLEAN", "read: NEED, COPY", -12),
        ("CLEAN", "ABSENT", "INV of a writer", -12),
        ("ABSENT", "HOME_PRIVATE", "write: NEED, COPY", -30),
        ("HOME_PRIVATE", "ABSENT", "GIVE to a writer", -30),
        ("CLEAN", "HOME_PRIVATE", "write: NEED, OWN", 0),
        ("HOME_PRIVATE", "HOME", "GIVE to a reader", -12),
        ("HOME", "HOME_PRIVATE", "write: NEED, OWN", -12),
        ("HOME", "ABSENT", "INV, GIVE to a writer", -50),
    ],
}
OWN_PLACES = {"homeless": HOMELESS_PLACES, "sc": SINGLE_PLACES}


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
    anchor, aside = "middle", 0
    if abs(ey) > 0.95 and abs(bend) < 20:  # beside an upright edge
        anchor, aside = ("start", 6) if ey > 0 else ("end", -6)
    return (
        f'<path d="M{x:.0f} {y:.0f}Q{mx:.0f} {my:.0f} {u:.0f} {v:.0f}" fill="none"'
        f' stroke="{colour}" marker-end="url(#arrow)"/>'
        f'<text x="{(x + 2 * mx + u) / 4 + aside:.0f}" y="{(y + 2 * my + v) / 4 + shift:.0f}"'
        f' text-anchor="{anchor}" fill="{colour}" stroke="white" stroke-width="4"'
        f' paint-order="stroke">{html.escape(what)}</text>'
    )


def states_of_the_core() -> set[str]:
    names = (_core.lib.dsm_page_state_name(state) for state in range(len(PLACES) + 2))
    return {_core.ffi.string(name).decode() for name in names}


def picture(name: str) -> str:
    places, own = OWN_PLACES.get(name, PLACES), {**POLICIES, **MODELS}[name]
    strange = set(places) - states_of_the_core()
    if strange:
        raise SystemExit(f"the core has no page state called {', '.join(sorted(strange))}")
    replaced = {edge[:2] for edge in own}
    common = [] if name in OWN_PLACES else [e for e in COMMON if e[:2] not in replaced]
    parts = [_edge(places, *edge, False) for edge in common]
    parts += [_edge(places, *edge, True) for edge in own if edge[2]]
    for state, (x, y) in places.items():
        parts.append(
            f'<rect x="{x - 60}" y="{y - 16}" width="120" height="32" rx="8" fill="#eef4f8"'
            f' stroke="#4c8bb8"/><text x="{x}" y="{y + 4}" text-anchor="middle">{state}</text>'
        )
    inside = "\n".join(parts)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1080 310" font-family="sans-serif"'
        ' font-size="11">\n<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5"'
        ' markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z"/></marker>'
        f'</defs>\n<rect width="100%" height="100%" fill="white"/>\n{inside}\n</svg>\n'
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m dsmproc.bench states", description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of policies.md")
    args = parser.parse_args(arguments)
    (args.out / "pictures").mkdir(exist_ok=True)
    for name in (*POLICIES, *MODELS):
        (args.out / "pictures" / f"{name}.svg").write_text(picture(name))
    return 0
