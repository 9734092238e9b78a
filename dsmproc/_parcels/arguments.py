"""Large arguments of processes: each is on a host once, while a process started with it lives.

Eight processes that are given one array on two hosts need it twice, not eight times. What counts is
the content when a process is started: the array may have been written since the last one. A large
argument travels beside the pickle of its process, which names it by its digest; the agent keeps it
(_parcels/service.py), and each process maps it privately.

Only strings, bytes and arrays of plain data are looked at: what else is large may hold handles that
belong to one process each.
"""

from __future__ import annotations

import array
import hashlib
import io
import mmap
import os
import pickle
import socket
import sys
from typing import Any

from .. import _membership
from .._std import pickling
from ..errors import ClusterError
from .parcel import SHARED, Packer, unpack_parcel

_PLAIN = (bytes, bytearray, str, array.array)
Parcels = dict[bytes, bytes]  # by digest


def dumps(process: Any) -> tuple[bytes, Parcels]:
    """A process object, and the large arguments that its pickle names."""
    values = (*process._args, *process._kwargs.values(), *vars(process).values())
    large = {id(value): value for value in values if _is_large(value)}
    if large:
        file, parcels = io.BytesIO(), _Large(large)
        try:
            _Pickler(file, parcels).dump(process)
            return file.getvalue(), parcels.found
        except Exception:  # perhaps with stand-ins for globals, as in any other pickle
            pass
    return pickling.dumps(process), {}


def loads(data: memoryview) -> Any:
    """In the worker."""
    return _Unpickler(io.BytesIO(data)).load()


def _is_large(value: Any) -> bool:
    if type(value) in _PLAIN:
        return sys.getsizeof(value) >= SHARED
    if type(value).__module__ != "numpy" or type(value).__name__ != "ndarray":
        return False
    return bool(value.nbytes >= SHARED and not value.dtype.hasobject)


class _Large:
    def __init__(self, candidates: dict[int, Any]) -> None:
        self.found: Parcels = {}
        self._candidates = candidates
        self._digests: dict[int, bytes] = {}

    def find(self, value: Any) -> bytes | None:
        key = id(value)
        if key not in self._candidates:
            return None
        if key not in self._digests:
            parcel = Packer().pack(value)
            if parcel.size < SHARED:  # of memory that all hosts share
                del self._candidates[key]
                return None
            parcel.keep()
            (data,) = parcel.pieces
            digest = self._digests[key] = hashlib.sha256(data).digest()
            self.found[digest] = bytes(data)
        return self._digests[key]


class _Pickler(pickling.Pickler):
    def __init__(self, file: Any, large: _Large) -> None:
        super().__init__(file)
        self._large = large

    def persistent_id(self, value: Any) -> bytes | None:
        return self._large.find(value)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self._loaded: dict[bytes, Any] = {}

    def persistent_load(self, digest: bytes) -> Any:
        if digest not in self._loaded:
            self._loaded[digest] = unpack_parcel(_fetch(digest))
        return self._loaded[digest]


def _fetch(digest: bytes) -> memoryview:
    """From the agent, in memory of this process's own."""
    with _membership.client().connect_agent("parcel") as wired:
        wired.send(digest)
        _, fds, _, _ = socket.recv_fds(wired.sock, 1, 1)
    if not fds:
        raise ClusterError("the agent of this host has lost an argument of this process")
    try:
        return memoryview(mmap.mmap(fds[0], 0, access=mmap.ACCESS_COPY))
    finally:
        os.close(fds[0])
