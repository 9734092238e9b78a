"""Barrier: threading.Barrier's behaviour, for processes on one host and on many."""

from __future__ import annotations

import time
from threading import BrokenBarrierError
from typing import Any

import pytest
from places import PATIENCE, finish, perform, start
from test_primitives import expect


def _rounds(barrier: Any, cells: Any, rounds: int, number: int) -> None:
    for done in range(rounds):
        cells[number] = done + 1
        index = barrier.wait(PATIENCE)
        assert 0 <= index < barrier.parties
        cells[10 + barrier.parties * done + index] += 1
        seen = [cells[n] for n in range(barrier.parties)]
        assert all(value >= done + 1 for value in seen), seen


def rounds(ctx: Any) -> None:
    barrier, cells = ctx.Barrier(3), ctx.RawArray("q", 10 + 3 * 5)
    children = [start(ctx, _rounds, barrier, cells, 5, number) for number in range(3)]
    finish(*children)
    assert cells[10:] == [1] * 15  # in each round every party has a number of its own
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (3, 0, False)


def _wait(barrier: Any) -> None:
    barrier.wait(PATIENCE)


def _find_it_broken(barrier: Any) -> None:
    expect(BrokenBarrierError, barrier.wait, PATIENCE)


def _until_waiting(barrier: Any, parties: int) -> None:
    until = time.monotonic() + PATIENCE
    while barrier.n_waiting < parties:
        assert time.monotonic() < until
        time.sleep(0.005)


class Count:
    """An action: it is run by one party, and sees what all have done before."""

    def __init__(self, cells: Any) -> None:
        self.cells = cells

    def __call__(self) -> None:
        self.cells[0] += 1
        self.cells[1] = self.cells[2] + self.cells[3]


def action(ctx: Any) -> None:
    cells = ctx.RawArray("q", 4)
    barrier = ctx.Barrier(2, Count(cells))
    done = ctx.Barrier(2)
    children = [start(ctx, _act_in_turn, barrier, done, cells, number) for number in range(2)]
    finish(*children)
    assert cells[0] == 3


def _act_in_turn(barrier: Any, done: Any, cells: Any, number: int) -> None:
    for turn in range(1, 4):
        cells[2 + number] = 10 * turn
        barrier.wait(PATIENCE)
        assert (cells[0], cells[1]) == (turn, 20 * turn)
        done.wait(PATIENCE)  # nobody writes before all have looked


def _fail() -> None:
    raise OSError("an action that fails")


def _wait_for_failure(barrier: Any, failed: Any) -> None:
    try:
        barrier.wait(PATIENCE)
    except OSError:
        failed.release()
    except BrokenBarrierError:
        pass


def failing_action(ctx: Any) -> None:
    barrier, failed = ctx.Barrier(2, _fail), ctx.Semaphore(0)
    finish(*[start(ctx, _wait_for_failure, barrier, failed) for _ in range(2)])
    assert failed.get_value() == 1
    assert barrier.broken


def timeout(ctx: Any) -> None:
    barrier = ctx.Barrier(3)
    child = start(ctx, _find_it_broken, barrier)
    _until_waiting(barrier, 1)
    began = time.monotonic()
    expect(BrokenBarrierError, barrier.wait, 0.1)
    assert 0.09 <= time.monotonic() - began < 5
    finish(child)  # whoever gives up breaks it for all
    assert barrier.broken and barrier.n_waiting == 0
    expect(BrokenBarrierError, barrier.wait)
    barrier.reset()
    assert not barrier.broken
    children = [start(ctx, _wait, barrier) for _ in range(2)]
    barrier.wait(PATIENCE)
    finish(*children)
    own = ctx.Barrier(2, timeout=0.1)
    expect(BrokenBarrierError, own.wait)
    expect(BrokenBarrierError, ctx.Barrier(2).wait, 0)


def abort_and_reset(ctx: Any) -> None:
    barrier = ctx.Barrier(3)
    for end in (barrier.abort, barrier.reset):
        children = [start(ctx, _find_it_broken, barrier) for _ in range(2)]
        _until_waiting(barrier, 2)
        end()
        finish(*children)
        assert barrier.broken is (end == barrier.abort)
        barrier.reset()
    assert not barrier.broken


def _act_slowly() -> None:
    time.sleep(1)


def _wait_shortly(gate: Any, barrier: Any) -> None:
    gate.wait(PATIENCE)
    barrier.wait(0.7)


def slow_action(ctx: Any) -> None:
    """A round is complete when all have come: its action may take longer than their patience. Who
    comes meanwhile is of the next round, and does not lose patience before that has begun."""
    gate, barrier = ctx.Barrier(4), ctx.Barrier(2, _act_slowly)
    finish(*[start(ctx, _wait_shortly, gate, barrier) for _ in range(4)])
    assert not barrier.broken


SCENARIOS = [rounds, action, failing_action, timeout, abort_and_reset, slow_action]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_barrier(place: str, scenario: Any) -> None:
    perform(place, scenario)
