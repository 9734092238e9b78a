"""The door to the core: pack an event, call one step, unpack its actions."""

from __future__ import annotations

import mmap
import struct
from typing import Any

from dsmproc._native import _core

ACTION = struct.Struct("<8I3Q")
EVENT = struct.Struct("<4I4Q")
MAX_ACTIONS, MAX_BYTES, MAX_MESSAGE = 4096, 256 << 10, 256 << 10
ARENA = 4 << 20  # room for a notice of 256 scattered pages is asked for before it is read


class Violation(Exception):
    """The core did what a correct one never does; `page` if it is about one page."""

    def __init__(self, text: str, page: int | None = None) -> None:
        super().__init__(text)
        self.page = page


class StaleRead(Violation):
    """A program read a value that a correct machine could not have returned."""


class Core:
    """One build of the core, with the buffers that all its nodes share."""

    def __init__(self, module: Any = _core, exact: bool = False) -> None:
        self.ffi, self.lib = module.ffi, module.lib
        self.exact = exact  # messages in blocks of exactly their size, for the sanitizer
        ffi = self.ffi
        assert ffi.sizeof("struct dsm_action") == ACTION.size
        assert ffi.sizeof("struct dsm_event") == EVENT.size
        self.actions = ffi.new("struct dsm_action[]", MAX_ACTIONS)
        self.bytes = ffi.new("uint8_t[]", MAX_BYTES)
        self.out = ffi.new("struct dsm_out *")
        self.out.actions, self.out.max_actions = self.actions, MAX_ACTIONS
        self.out.bytes, self.out.max_bytes = self.bytes, MAX_BYTES
        self.action_view = memoryview(ffi.buffer(self.actions))
        self.byte_view = memoryview(ffi.buffer(self.bytes))
        self.event = ffi.new("struct dsm_event *")
        self.event_view = memoryview(ffi.buffer(self.event))
        self.message = ffi.new("uint8_t[]", MAX_MESSAGE)
        self.message_view = memoryview(ffi.buffer(self.message))
        self.message_at = int(ffi.cast("uintptr_t", self.message))
        self.summary = ffi.new("struct dsm_summary *")
        self.scratch: dict[int, PageBuffers] = {}

    def pages(self, size: int) -> PageBuffers:
        if size not in self.scratch:
            self.scratch[size] = PageBuffers(self, size)
        return self.scratch[size]

    def pack(
        self,
        kind: int,
        host: int = 0,
        client: int = 0,
        id: int = 0,
        req: int = 0,
        arg: int = 0,
        data: bytes = b"",
    ) -> None:
        size = len(data)
        if self.exact:
            self.message = self.ffi.new("uint8_t[]", size or 1)
            self.message_view = memoryview(self.ffi.buffer(self.message))
            self.message_at = int(self.ffi.cast("uintptr_t", self.message))
        if size:
            self.message_view[:size] = data
        EVENT.pack_into(self.event_view, 0, kind, host, client, size, id, req, arg, self.message_at)

    def taken(self) -> tuple[list[tuple[int, ...]], bytes]:
        """The actions of the last step, and its message bytes."""
        out = self.out
        actions = list(ACTION.iter_unpack(self.action_view[: out.nactions * ACTION.size]))
        return actions, bytes(self.byte_view[: out.nbytes])


class PageBuffers:
    """Aligned room for one comparison."""

    def __init__(self, core: Core, size: int) -> None:
        ffi = core.ffi
        self.core, self.size = core, size
        self.room = core.lib.dsm_diff_max(size)
        self.page, self.twin, self.snapshot = (ffi.new("uint64_t[]", size // 8) for _ in range(3))
        self.diff = ffi.new("uint8_t[]", self.room)
        self.args = [ffi.cast("uint8_t *", b) for b in (self.page, self.twin, self.snapshot)]
        self.views = [memoryview(ffi.buffer(b)) for b in (self.page, self.twin, self.snapshot)]
        self.diff_view = memoryview(ffi.buffer(self.diff))

    def encode(self, page: bytes, twin: bytes | None) -> tuple[bytes, bytes]:
        """The diff and the snapshot it was made of."""
        self.views[0][:] = page
        null = self.core.ffi.NULL
        if twin is not None:
            self.views[1][:] = twin
        used = self.core.lib.dsm_diff_encode(
            self.args[0],
            null if twin is None else self.args[1],
            self.args[2],
            self.size,
            self.diff,
        )
        assert used <= self.room
        return bytes(self.diff_view[:used]), bytes(self.views[2])

    def apply(self, page: bytes, diff: bytes) -> bytes:
        self.views[0][:] = page
        status = self.core.lib.dsm_diff_apply(
            self.args[0], self.size, self.core.ffi.from_buffer("uint8_t[]", diff), len(diff)
        )
        if status:
            raise Violation(f"a diff that another host made was refused: {diff.hex()}")
        return bytes(self.views[0])


class Node:
    """The state of a host or of the master, in an arena of its own."""

    def __init__(self, core: Core, master: bool, **config: int) -> None:
        ffi, lib = core.ffi, core.lib
        self.core, self.master = core, master
        self.memory = mmap.mmap(-1, ARENA)  # costs what is touched
        self.arena = ffi.cast("uint8_t *", ffi.from_buffer(self.memory))
        settings = ffi.new("struct dsm_config *", config)
        init = lib.dsm_master_init if master else lib.dsm_host_init
        self.state = init(self.arena, ARENA, settings)
        assert self.state != ffi.NULL
        self.step_function = lib.dsm_master_step if master else lib.dsm_host_step
        self.check_function = lib.dsm_master_check if master else lib.dsm_host_check

    def step(self, **event: Any) -> tuple[int, list[tuple[int, ...]], bytes]:
        self.core.pack(**event)
        status = self.step_function(self.state, self.core.event, self.core.out)
        if status:
            return status, [], b""
        return (0, *self.core.taken())

    def image(self) -> bytes:
        """The state's bytes: equal images behave alike."""
        used = struct.unpack_from("<Q", self.core.ffi.buffer(self.arena, 16), 8)[0]
        return bytes(self.core.ffi.buffer(self.arena, used))
