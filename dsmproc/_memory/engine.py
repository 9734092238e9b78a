"""A host's agent, or the master: the native engine thread, as its process's Python sees it."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from typing import Any, Literal

from .._native.ffi import MASTER, Model, check, ffi, lib
from .._net import heartbeat
from .._settings import check_home, setting
from ..errors import ClusterError

_NOTICES = {
    lib.DSMPROC_NOTE_PEER_LOST: "peer_lost",
    lib.DSMPROC_NOTE_CLIENT_GONE: "client_gone",
    lib.DSMPROC_NOTE_REGION_END: "region_end",
    lib.DSMPROC_NOTE_POISONED: "poisoned",
    lib.DSMPROC_NOTE_FATAL: "fatal",
    lib.DSMPROC_NOTE_LOG: "log",
    lib.DSMPROC_NOTE_CHECKED: "checked",
    lib.DSMPROC_NOTE_CUT: "cut",
    lib.DSMPROC_NOTE_OWNER_DIED: "owner_died",
}

_STATS = {
    "read_faults": lib.DSM_COUNT_READ_FAULTS,
    "write_faults": lib.DSM_COUNT_WRITE_FAULTS,
    "pages_fetched": lib.DSM_COUNT_PAGES_FETCHED,
    "diffs_sent": lib.DSM_COUNT_DIFFS_SENT,
    "diff_bytes": lib.DSM_COUNT_DIFF_BYTES,
    "notices_received": lib.DSM_COUNT_NOTICES_RECEIVED,
    "invalidations": lib.DSM_COUNT_INVALIDATIONS,
    "home_migrations": lib.DSM_COUNT_HOME_MIGRATIONS,
    "lock_remote": lib.DSM_COUNT_LOCK_REMOTE,
    "barriers": lib.DSM_COUNT_BARRIERS,
    "publishes": lib.DSM_COUNT_PUBLISHES,
    "evictions": lib.DSM_COUNT_EVICTIONS,
    "updates": lib.DSM_COUNT_UPDATES,
    "bytes_kept": lib.DSM_COUNT_BYTES_KEPT,
    "bytes_dropped": lib.DSM_COUNT_BYTES_DROPPED,
    "lock_local": lib.DSMPROC_STAT_LOCK_LOCAL,
    "messages_sent": lib.DSMPROC_STAT_MESSAGES_SENT,
    "bytes_sent": lib.DSMPROC_STAT_BYTES_SENT,
    "frames_sent": lib.DSMPROC_STAT_FRAMES_SENT,
    "tick_frames": lib.DSMPROC_STAT_TICK_FRAMES,
}
_GAUGES = {
    "clients": lib.DSMPROC_STAT_CLIENTS,
    "regions": lib.DSMPROC_STAT_REGIONS,
    "twins": lib.DSMPROC_STAT_TWINS,
    "diffs": lib.DSMPROC_STAT_DIFFS,
}
MAX_HOSTS: int = lib.DSM_MAX_HOSTS
LOCKS_NAMED: int = lib.DSM_NAMED
_CHANNELS = {"fast": lib.DSM_FAST, "bulk": lib.DSM_BULK, "master": lib.DSM_FAST}


@dataclass(frozen=True)
class Notice:
    """Something the control plane must know. Which fields count: see DSMPROC_NOTE_* in the API."""

    kind: str
    host: int
    channel: str
    pid: int
    error: int
    id: int
    arg: int
    text: str

    @property
    def why(self) -> str:
        """Of a lost peer: how its connection ended, behind "the connection"."""
        if self.error == errno.EPROTO:
            return "brought what is no message of the protocol"
        if self.error == errno.EBADMSG:
            return "brought a frame that was not made with the cluster's key"
        if self.error == errno.ENOBUFS:
            return "does not take what is sent any more"
        if self.error == errno.ETIMEDOUT:
            return heartbeat.silence("showed ")
        return f"ended ({os.strerror(self.error)})"


def lock_name(lock: int) -> str:
    return f"/dsm-{lock:x}"


class Engine:
    """A host's agent, or the master: one native thread."""

    def __init__(
        self,
        role: Literal["agent", "master"],
        host: int = MASTER,
        *,
        tick: float | None = None,
        beat: float | None = None,
        arena: int = 16 << 30,
        run: int = 16,
        most: int = 64,
        ahead: int = 256,
        hot: int = 3,
        grants: int = 16,
        carry: int = 1024,
        feed: int = 2,
        keep: int = 4 << 20,
        model: str = "lrc",
        memory: int = 0,
    ) -> None:
        """`memory` in bytes (0: no limit); `tick` in seconds (0: none; None: DSMPROC_TICK, in ms,
        else 0.1), `beat` too (None: as heartbeat.py says)."""
        if tick is None:
            tick = float(setting("DSMPROC_TICK")) / 1000
        options = ffi.new("struct dsmproc_options *")
        options.role = lib.DSMPROC_AGENT if role == "agent" else lib.DSMPROC_MASTER
        options.host = host
        options.run, options.most, options.ahead = run, most, ahead
        options.hot, options.grants, options.carry, options.feed = hot, grants, carry, feed
        options.keep = keep
        options.model = Model[model.upper()]
        options.tick_ms = round(tick * 1000)
        options.arena, options.memory = arena, memory
        options.beat_ms = round((heartbeat.interval() if beat is None else beat) * 1000)
        options.silent_beats = heartbeat.BEATS
        made = ffi.new("struct dsmproc_engine **")
        check(lib.dsmproc_engine_start(options, made), f"cannot start the {role}'s engine")
        self.role = role
        self.model = model
        self.host = host
        self._engine = made[0]
        self._baseline = [0] * lib.DSMPROC_STATS

    def fileno(self) -> int:
        """Readable while notices wait."""
        return int(lib.dsmproc_engine_fd(self._running()))

    def notices(self) -> list[Notice]:
        notice = ffi.new("struct dsmproc_notice *")
        taken = []
        while lib.dsmproc_engine_notice(self._running(), notice):
            taken.append(
                Notice(
                    kind=_NOTICES[notice.kind],
                    host=notice.host,
                    channel="master"
                    if notice.host == MASTER or self.role == "master"
                    else "bulk"
                    if notice.channel == lib.DSM_BULK
                    else "fast",
                    pid=notice.pid,
                    error=notice.error,
                    id=notice.id,
                    arg=notice.arg,
                    text=ffi.string(notice.text).decode("utf-8", "replace"),
                )
            )
        return taken

    def add_peer(
        self, fd: int, host: int, channel: str, keys: tuple[bytes, bytes] | None = None
    ) -> None:
        """An authenticated connection to another host ("fast", "bulk") or between an agent and the
        master ("master": host is MASTER at the agent). The engine owns `fd` from here on. `keys`,
        to send and to receive with, if the frames have tags."""
        fields: dict[str, Any] = {"fd": fd, "host": host, "channel": _CHANNELS[channel]}
        if keys is not None:
            fields.update(sealed=1, send_key=keys[0], receive_key=keys[1])
        self._command(lib.DSMPROC_CMD_ADD_PEER, **fields)

    def add_client(self, fd: int, pid: int) -> None:
        """A connection of a process of this host. The engine owns `fd` from here on."""
        self._command(lib.DSMPROC_CMD_ADD_CLIENT, fd=fd, pid=pid)

    def client_died(self, pid: int, by_signal: bool, program_ends: bool = False) -> None:
        """A process was reaped. Locks that it held are freed if a signal ended it, with a notice
        "owner_died" of each whose arg is `program_ends`; else they stay."""
        if by_signal:
            self._command(lib.DSMPROC_CMD_CLIENT_DIED, pid=pid, arg=int(program_ends))

    def host_joined(self, host: int) -> None:
        """Master: before its connection is added."""
        self._command(lib.DSMPROC_CMD_HOST_JOINED, host=host)

    def host_lost(self, host: int) -> None:
        self._command(lib.DSMPROC_CMD_HOST_LOST, host=host)

    def region_made(self, region: int, pages: int, policy: int, hosts: int) -> None:
        """Master: it may be attached when this returns. Numbers from 1, below 2**32. MemoryError,
        ClusterError, ValueError."""
        if policy == lib.DSM_HOME_HOMELESS:
            check_home("homeless", self.model)
        kind = lib.DSMPROC_CMD_REGION_MADE
        self._command(kind, id=region, arg=pages, channel=int(policy), host=hosts)
        refused = lib.dsmproc_engine_settle(self._running())
        if refused == lib.DSM_E_MEMORY:
            raise MemoryError(f"the master has no room for a region of {pages} pages")
        if refused:
            raise ClusterError("a host that was to be home of the new region was lost")

    def region_unlink(self, region: int) -> None:
        """Master: it ends (notice "region_end") when nobody has it attached any more."""
        self._command(lib.DSMPROC_CMD_REGION_UNLINK, id=region)

    def check_invariants(self) -> None:
        """Test the core's invariants; a notice "checked" brings 0, or the violated one's number."""
        self._command(lib.DSMPROC_CMD_CHECK)

    def connect(self) -> int:
        """A connection of this very process, for a Client in the agent itself."""
        ours, theirs = socket.socketpair()
        self.add_client(theirs.detach(), os.getpid())
        return ours.detach()

    def _values(self) -> Any:
        values = ffi.new("uint64_t[]", lib.DSMPROC_STATS)
        lib.dsmproc_engine_stats(self._running(), values)
        return values

    def stats(self, reset: bool = False) -> dict[str, int]:
        values = self._values()
        counted = {name: values[i] - self._baseline[i] for name, i in _STATS.items()}
        if reset:
            self._baseline = list(values)
        return counted

    def gauges(self) -> dict[str, int]:
        """What exists now: clients, regions, twins, kept diffs."""
        values = self._values()
        return {name: values[i] for name, i in _GAUGES.items()}

    def measure(self) -> int:
        """Agent: bytes that pages and twins take now."""
        self._command(lib.DSMPROC_CMD_MEASURE)
        lib.dsmproc_engine_settle(self._running())
        return int(self._values()[lib.DSMPROC_STAT_MEMORY])

    def stop(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            lib.dsmproc_engine_stop(engine)

    def _running(self) -> Any:
        if self._engine is None:
            raise ClusterError("this engine has been stopped")
        return self._engine

    def _command(self, kind: int, **fields: Any) -> None:
        command = ffi.new("struct dsmproc_command *", {"kind": kind, "fd": -1, **fields})
        check(lib.dsmproc_engine_command(self._running(), command), "no memory for a command")
