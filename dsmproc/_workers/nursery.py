"""The agent's side of its zygotes: one for each program and environment (zygote.py)."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import socket
from collections import OrderedDict
from typing import Any

from .._net import wire

KEPT = 4  # zygotes
Key = tuple[Any, ...]


class Zygote:
    """One that comes, or has come when it has said so."""

    def __init__(self) -> None:
        self.control, self.theirs = socket.socketpair()
        self.control.setblocking(False)
        self._said = False
        self._asking = asyncio.Lock()  # one request after the other

    def ready(self) -> bool:
        """EOFError if it is gone."""
        if not self._said:
            with contextlib.suppress(BlockingIOError):
                self._said = bool(self.control.recv(1))
                if not self._said:
                    raise EOFError
        return self._said

    def introduce(self, request: dict[str, Any]) -> None:
        """Once somebody has its end of the connection."""
        self.theirs.close()
        body = pickle.dumps({name: request[name] for name in ("path", "preload")})
        with contextlib.suppress(OSError):
            self.control.send(wire.frame_header(len(body)) + body)

    async def fork(self, request: dict[str, Any], fds: list[int]) -> None:
        body = pickle.dumps(request["environ"])
        async with self._asking:
            socket.send_fds(self.control, [b"F"], fds)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(self.control, wire.frame_header(len(body)) + body)

    def close(self) -> None:
        """It ends when it reads that."""
        self.control.close()
        self.theirs.close()


class Nursery:
    def __init__(self) -> None:
        self._zygotes: OrderedDict[Key, Zygote] = OrderedDict()

    async def fork(
        self, request: dict[str, Any], out: int, err: int
    ) -> tuple[int, socket.socket] | None:
        """A new worker's pid, and the socket through which it waits for its request; None if a
        fresh interpreter is quicker, or there is no zygote any more."""
        key = _key(request)
        zygote = self._zygotes.get(key)
        if zygote is None:
            return None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                if not zygote.ready():
                    ours.close()
                    return None
                await zygote.fork(request, [theirs.fileno(), out, err])
            return await _pid(ours), ours
        except (EOFError, OSError):  # it was killed
            ours.close()
            if self._zygotes.get(key) is zygote:
                self._retire(key)
            return None
        except BaseException:
            ours.close()
            raise

    def expect(self, request: dict[str, Any]) -> Zygote | None:
        """A zygote, to be left behind by the interpreter that is started now; None if one is on
        its way."""
        key = _key(request)
        if key in self._zygotes:
            return None
        while len(self._zygotes) >= KEPT:
            self._retire(next(iter(self._zygotes)))
        zygote = self._zygotes[key] = Zygote()
        return zygote

    def _retire(self, key: Key) -> None:
        self._zygotes.pop(key).close()

    def end(self, session: str = "") -> None:
        """A program has ended, or all have."""
        for key in [key for key in self._zygotes if key[0].startswith(session)]:
            self._retire(key)


def _key(request: dict[str, Any]) -> Key:
    """What a zygote's workers have in common: an environment is also read by libraries that are
    imported."""
    environ = tuple(sorted(request["environ"].items()))
    return request["session"], tuple(request["flags"]), environ, tuple(request["preload"])


async def _pid(control: socket.socket) -> int:
    data = b""
    while len(data) < 8:
        more = await asyncio.get_running_loop().sock_recv(control, 8 - len(data))
        if not more:
            raise EOFError
        data += more
    return int.from_bytes(data, "little")
