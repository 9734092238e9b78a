"""python -m tests.sim: its exit status says whether the worlds are right."""

from __future__ import annotations

import pytest

from . import __main__ as command


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["tests.sim", *words])
    return command.main()


def test_a_right_seed_is_replayed_with_status_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--seed", "1") == 0
    assert "seed 1 is right" in capsys.readouterr().out


def test_a_wrong_seed_is_told_and_replayed_with_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--seeds", "0:100", "--off", "BYTES", "--stale") == 1
    told = capsys.readouterr().out
    seed = told.partition("seed ")[2].partition(":")[0]
    assert run(monkeypatch, "--seed", seed, "--off", "BYTES") == 1
    assert f"seed {seed}: StaleRead" in capsys.readouterr().out
