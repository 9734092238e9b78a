"""What a program asks for that cannot be: an exception of one sentence, and it can go on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import places
import pytest

import dsmproc
from dsmproc import SharedMemory
from dsmproc._os import procs

PETABYTE = 1 << 50


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with places.local_cluster():
        yield


def unlinked() -> None:
    made = SharedMemory(create=True, size=10)
    made.unlink()
    try:
        SharedMemory(made.name)
    finally:
        made.buf[0] = 1  # what is mapped stays
        made.close()


def created_twice() -> None:
    made = SharedMemory(create=True, size=10)
    try:
        SharedMemory(made.name, create=True, size=10)
    finally:
        made.close()
        made.unlink()


def unlinked_twice() -> None:
    made = SharedMemory(create=True, size=10)
    made.close()
    made.unlink()
    made.unlink()


def beyond_memory() -> None:
    SharedMemory(create=True, size=procs.machine_memory() + 1)


REQUESTS: dict[str, tuple[Callable[[], Any], type[BaseException], str]] = {
    "an unknown name": (lambda: SharedMemory("nobody"), FileNotFoundError, "nobody"),
    "an unlinked name": (unlinked, FileNotFoundError, "No such file"),
    "a name that is taken": (created_twice, FileExistsError, "File exists"),
    "an unlink too many": (unlinked_twice, FileNotFoundError, "No such file"),
    "a name with a slash": (lambda: SharedMemory("a/b", True, 5), OSError, "Invalid argument"),
    "an endless name": (lambda: SharedMemory("n" * 300, True, 5), OSError, "too long"),
    "no name": (lambda: SharedMemory(), ValueError, "'name' can only be None if create=True"),
    "size 0": (lambda: SharedMemory(create=True, size=0), ValueError, "different from zero"),
    "size -1": (lambda: SharedMemory(create=True, size=-1), ValueError, "positive"),
    "size 1.5": (lambda: SharedMemory(create=True, size=1.5), TypeError, "float"),  # type: ignore
    "more than all memory": (beyond_memory, MemoryError, "more than all hosts have together"),
    "a petabyte": (lambda: SharedMemory(create=True, size=PETABYTE), MemoryError, f"{PETABYTE}"),
    "a petabyte as array": (lambda: dsmproc.RawArray("B", PETABYTE), MemoryError, "hosts have"),
    "an array of -1": (lambda: dsmproc.Array("i", -1), ValueError, "not -1"),
    "a barrier of none": (lambda: dsmproc.Barrier(0), ValueError, "parties"),
    "a semaphore of -1": (lambda: dsmproc.Semaphore(-1), (ValueError, OSError), ""),  # type: ignore
    "a pool of none": (lambda: dsmproc.Pool(0), ValueError, "at least 1"),
}


def ask(what: str) -> None:
    request, kind, sentence = REQUESTS[what]
    with pytest.raises(kind) as caught:
        request()
    assert re.search(sentence, str(caught.value)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("what", REQUESTS)
def test_of_the_driver_and_of_a_worker(cluster: None, what: str) -> None:
    ask(what)
    places.run(dsmproc.get_context(), ask, what)
    with dsmproc.Pool(2) as pool:  # everybody goes on
        assert pool.map(abs, [-1, -2]) == [1, 2]
