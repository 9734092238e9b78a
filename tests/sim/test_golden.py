"""The scenarios play as they are written down. After a wanted change: python -m tests.sim.golden
--rewrite, and read the difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from .golden import HERE, play

FILES = sorted(HERE.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    assert play(path) == path.read_text()


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 5
