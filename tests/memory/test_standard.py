"""Without a cluster the names are the standard library's."""

from __future__ import annotations

from multiprocessing import shared_memory

import pytest

import dsmproc
from dsmproc import cluster, sharedmem


@pytest.mark.skipif(cluster.active(), reason="a cluster is active")
@pytest.mark.parametrize("track", [True, False])
def test_standard_objects(track: bool) -> None:
    made = sharedmem.SharedMemory(create=True, size=100, track=track)
    assert isinstance(made, shared_memory.SharedMemory)
    assert type(made) is not sharedmem.SharedMemory
    other = sharedmem.SharedMemory(made.name, track=track)
    other.buf[3] = 4
    assert made.buf[3] == 4
    for one in (other, made):
        one.close()
    made.unlink()
    with pytest.raises(FileNotFoundError):
        sharedmem.SharedMemory(made.name, track=track)


def test_standard_list() -> None:
    made = sharedmem.ShareableList([1, "a", None])
    assert type(made) is shared_memory.ShareableList
    made.shm.close()
    made.shm.unlink()


def test_module_names() -> None:
    memory = dsmproc.SharedMemory(create=True, size=1)
    assert type(memory) is shared_memory.SharedMemory
    memory.close()
    memory.unlink()
