"""Critical sections on three hosts, each checked against the one before it at the same lock.

Each model, each home policy and each fault mechanism runs at least once here; all of them with
each other: `make races`.
"""

from __future__ import annotations

from typing import Any

import pytest
import racelog
from racelog import HOMES, MODELS, Entry

RUNS = max(len(HOMES), len(MODELS))
RIGHT = [Entry(0, 1, 0, 5), Entry(0, 2, 5, 6), Entry(0, 3, 6, 9), Entry(1, 1, 0, 2)]


@pytest.mark.parametrize("turn", range(RUNS), ids=lambda n: f"{MODELS[n % len(MODELS)]}-{n}")
def test_each_section_reads_what_the_one_before_wrote(turn: int) -> None:
    able = racelog.mechanisms()
    if not able:
        pytest.skip("uffd: refused here")
    model, home = MODELS[turn % len(MODELS)], HOMES[turn % len(HOMES)]
    if not racelog.goes_together(model, home):
        model = "lrc"
    faults = able[(turn + turn // len(MODELS)) % len(able)]
    sections, moves, wrong = racelog.run(model, home, faults, 200)
    assert wrong == [], f"{model}, {home}, {faults}"
    assert sections > 3 * 200
    assert moves >= 10, "the locks hardly left their hosts"


def test_the_log_shows_what_a_model_permits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSMPROC_TICK", "0")  # it would bring what the lock does not
    if not racelog.mechanisms():
        pytest.skip("uffd: refused here")
    unbound = racelog.run("ec", "first", racelog.mechanisms()[0], 200, ["unbound"])
    assert unbound.sections > 3 * 200
    assert unbound.wrong, "entry consistency brought what is bound to no lock"
    assert all(" section " in sentence for sentence in unbound.wrong), unbound.wrong


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (RIGHT, []),
        (RIGHT[:1] + RIGHT[2:], ["lock 0, section 3: there is no section 2"]),
        (
            [*RIGHT[:2], Entry(0, 2, 5, 8), *RIGHT[2:]],
            ["lock 0, section 2: two sections have this number, so one read a stale number"],
        ),
        (
            [RIGHT[2], RIGHT[0], RIGHT[1], Entry(1, 1, 4, 5)],
            ["lock 1, section 1: read 4 and not 0, which was written just before"],
        ),
    ],
    ids=["right", "gap", "twice", "stale"],
)
def test_what_the_check_says(wrong: list[Any], said: list[str]) -> None:
    assert racelog.check(wrong) == said
