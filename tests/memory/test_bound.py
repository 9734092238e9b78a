"""Bytes that travel with their lock: two hosts change them in turn, at home on a third host, the
driver on a fourth, and after the first rounds nobody faults."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from places import PATIENCE, finish, local_cluster, start

import dsmproc

WARM, TURNS = 6, 40  # turns of each host: before the faults are counted, and all
FAULTS = ("read_faults", "write_faults", "pages_fetched")
HOME = 3

Change = Callable[[Any, int], None]


@pytest.fixture(scope="module")
def four_hosts(mechanism: str) -> Iterator[None]:
    with local_cluster(4):
        yield


def _faults() -> dict[str, int]:
    stats = dsmproc.stats()
    counts = {name: sum(stats[host][name] for host in stats) for name in FAULTS}
    return counts | {"updates": sum(stats[host]["updates"] for host in stats)}


def _take_turns(change: Change, shared: Any, mine: Any, other: Any, answers: Any) -> None:
    before = after = _faults()
    for turn in range(TURNS):
        mine.acquire()
        if turn == WARM:
            before = _faults()
        if turn == TURNS - 1:
            after = _faults()
        with shared.get_lock():
            change(shared, turn)
        other.release()
    answers.put({name: after[name] - before[name] for name in before})


def _alternate(change: Change, shared: Any) -> list[dict[str, int]]:
    """Hosts 1 and 2 in turn; what each counted between its first turns and its last."""
    ctx = dsmproc.get_context()
    first, second, answers = ctx.Semaphore(1), ctx.Semaphore(0), ctx.Queue()
    finish(
        start(ctx, _take_turns, change, shared, first, second, answers, host=1),
        start(ctx, _take_turns, change, shared, second, first, answers, host=2),
    )
    return [answers.get(timeout=PATIENCE) for _ in range(2)]


def _at_home(scenario: Callable[[], None]) -> None:
    """In a process of the third host: who publishes first is the home of what it makes."""
    finish(start(dsmproc.get_context(), scenario, host=HOME))


def _count(value: Any, turn: int) -> None:
    value.value += 1


def _counter() -> None:
    assert dsmproc.current_host() == HOME
    counter = dsmproc.Value("q", 5)
    counts = _alternate(_count, counter)
    assert counter.value == 5 + 2 * TURNS
    for count in counts:
        assert [count[name] for name in FAULTS] == [0, 0, 0], counts
        assert count["updates"] >= TURNS  # at both hosts


def test_a_counter_causes_no_fault_after_the_first_turns(four_hosts: None) -> None:
    _at_home(_counter)


def _shift(array: Any, turn: int) -> None:
    """Some elements here and there, each from what the other host left."""
    for at in range(turn % 7, len(array), 7):
        array[at] += at + 1


def _sums(size: int) -> list[int]:
    """What all turns of _shift add up to."""
    times = [2 * len(range(first, TURNS, 7)) for first in range(7)]
    return [times[at % 7] * (at + 1) for at in range(size)]


def _small() -> None:
    array = dsmproc.Array("i", range(150))
    counts = _alternate(_shift, array)
    assert array[:] == [at + more for at, more in enumerate(_sums(150))]
    for count in counts:
        assert [count[name] for name in FAULTS] == [0, 0, 0], counts


def test_an_array_of_some_hundred_bytes_causes_none(four_hosts: None) -> None:
    _at_home(_small)


def _large() -> None:
    array = dsmproc.Array("i", 20_000)
    _alternate(_shift, array)
    assert array[:] == _sums(20_000)


def test_a_large_array_goes_by_pages(four_hosts: None) -> None:
    _at_home(_large)


def _read_without_lock(raw: Any, messages: Any, answers: Any, last: int) -> None:
    for _ in range(3):
        told = messages.get(timeout=PATIENCE)
        answers.put((told, raw.value))
    until = time.monotonic() + PATIENCE
    while raw.value != last and time.monotonic() < until:  # by the polling tick
        time.sleep(0.01)
    answers.put((last, raw.value))


def test_a_reader_without_the_lock_sees_what_any_message_says(four_hosts: None) -> None:
    """The bytes that travel with the grant are those that every other acquire shows."""
    ctx = dsmproc.get_context()
    counter, messages, answers = dsmproc.Value("q", 0), ctx.Queue(), ctx.Queue()
    reader = start(
        ctx, _read_without_lock, counter.get_obj(), messages, answers, 8 * TURNS + 1, host=HOME
    )
    for part in range(1, 4):
        _alternate(_count, counter)
        assert counter.get_obj().value == part * 2 * TURNS
        messages.put(counter.value)
        assert answers.get(timeout=PATIENCE) == (part * 2 * TURNS, part * 2 * TURNS)
    _alternate(_count, counter)
    counter.value += 1
    assert answers.get(timeout=PATIENCE) == (8 * TURNS + 1, 8 * TURNS + 1)
    finish(reader)


class _Pair:
    """Bytes of a mapping of one's own, bound to a lock."""

    def __init__(self, name: str, lock: Any) -> None:
        self.name, self.lock = name, lock

    def get_lock(self) -> Any:
        return self.lock


_mapped: dict[str, Any] = {}


def _add_up(pair: _Pair, turn: int) -> None:
    if pair.name not in _mapped:
        memory = _mapped[pair.name] = dsmproc.SharedMemory(pair.name)
        pair.lock.bind(memory.buf[4090:4106])  # across two pages
    view = _mapped[pair.name].buf
    numbers = (ctypes.c_uint8 * 16).from_buffer(view, 4090)
    for at in range(16):
        numbers[at] = (numbers[at] + at) % 251
    del numbers


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_bytes_of_a_mapping_are_bound_by_hand(four_hosts: None, kind: str) -> None:
    memory = dsmproc.SharedMemory(create=True, size=8192)
    lock = getattr(dsmproc, kind)()
    counts = _alternate(_add_up, _Pair(memory.name, lock))
    expected = [0] * 16
    for _ in range(2 * TURNS):
        expected = [(value + at) % 251 for at, value in enumerate(expected)]
    assert list(memory.buf[4090:4106]) == expected
    for count in counts:
        assert [count[name] for name in FAULTS] == [0, 0, 0], counts
    memory.close()
    memory.unlink()


def test_what_cannot_be_bound(four_hosts: None) -> None:
    lock = dsmproc.Lock()
    with pytest.raises(ValueError, match="not in the cluster's memory"):
        lock.bind(bytearray(10))
    with pytest.raises(TypeError):
        lock.bind(7)
    memory = dsmproc.SharedMemory(create=True, size=8192)
    lock.bind(memory.buf)
    lock.bind(memory.buf[8192:])  # no byte
    memory.close()
    memory.unlink()
