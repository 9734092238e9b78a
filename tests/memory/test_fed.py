"""Pages that are read after each barrier come with it: a grid whose bands are on two hosts, made
by a third, the driver on a fourth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from places import PATIENCE, finish, local_cluster, start

import dsmproc

PAGE = 4096
ROUNDS = 40
MAKER, HOSTS = 3, (1, 2)


@pytest.fixture(scope="module")
def four_hosts(mechanism: str) -> Iterator[None]:
    with local_cluster(4):
        yield


def _fetched() -> int:
    return sum(counts["pages_fetched"] for counts in dsmproc.stats().values())


def _iterate(name: str, me: int, pages: int, barrier: Any, answers: Any) -> None:
    """Write own pages, read those of the other; each round's bytes are different ones."""
    memory = dsmproc.shared_memory.SharedMemory(name)
    mine, other = (slice(at * pages * PAGE, (at + 1) * pages * PAGE) for at in (me, 1 - me))
    before, wrong = 0, []
    for turn in range(ROUNDS):
        memory.buf[mine] = bytes([turn, me + 1]) * (pages * PAGE // 2)
        barrier.wait(PATIENCE)
        if bytes(memory.buf[other]) != bytes([turn, 2 - me]) * (pages * PAGE // 2):
            wrong.append(turn)
        barrier.wait(PATIENCE)
        if turn == ROUNDS // 2:
            before = _fetched()
            barrier.wait(PATIENCE)
    barrier.wait(PATIENCE)
    answers.put((wrong, _fetched() - before))
    barrier.wait(PATIENCE)
    memory.close()


def _two_bands(pages: int) -> None:
    """In a process of the maker: the pages' homes move to those who write them."""
    assert dsmproc.current_host() == MAKER
    ctx = dsmproc.get_context()
    barrier, answers = ctx.Barrier(2), ctx.Queue()
    memory = dsmproc.shared_memory.SharedMemory(create=True, size=2 * pages * PAGE)
    try:
        memory.buf[:] = bytes(2 * pages * PAGE)
        finish(
            *(
                start(ctx, _iterate, memory.name, me, pages, barrier, answers, host=host)
                for me, host in enumerate(HOSTS)
            )
        )
        fetched = []
        for _ in HOSTS:
            wrong, count = answers.get(timeout=PATIENCE)
            assert wrong == []
            fetched.append(count)
    finally:
        memory.close()
        memory.unlink()
    turns = ROUNDS - ROUNDS // 2 - 1
    if pages == 1:  # what a home asks for again by a plain notice, every sixteenth time
        assert max(fetched) <= 2 * 2 < turns, fetched
    else:  # too many to go by the master
        assert min(fetched) >= turns * pages, fetched


@pytest.mark.parametrize("pages", [1, 30])
def test_the_edge_of_a_band_comes_with_the_barrier(four_hosts: None, pages: int) -> None:
    finish(start(dsmproc.get_context(), _two_bands, pages, host=MAKER))
