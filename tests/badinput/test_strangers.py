"""Bytes of strangers on every port, and keys that are not the cluster's."""

from __future__ import annotations

import os
import socket
import struct

import pytest
from helpers import ByHand, run_dsmproc
from program import Program

from dsmproc._net import wire
from dsmproc.errors import AuthenticationError, ProtocolError

PURPOSES = ["control", "output", "console", "query", "engine-master"]
PURPOSES += ["spawn", "client", "session", "modules", "engine-fast", "engine-bulk", "channel"]
PURPOSES += ["dial", "parcel"]

KEY_OF_OTHERS = b"k" * 64


def framed(body: bytes) -> bytes:
    return struct.pack("<Q", len(body)) + body


STRANGE = {
    "nothing": b"",
    "a browser": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a TLS client": bytes.fromhex("16030100c8010000c40303") + b"\x55" * 189,
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "half a header": b"\x20\x00\x00",
    "a frame without its end": framed(wire.hello("control"))[:-7],
    "the longest length": struct.pack("<Q", (1 << 64) - 1),
    "a terabyte": struct.pack("<Q", 1 << 40) + b"x" * 1000,
    "an empty frame": framed(b""),
    "a proof before the hello": framed(b"P" + bytes(32)),
    "a hello with a tail": framed(wire.hello("control") + b"tail"),
    "a hello without purpose": framed(wire.hello("")),
    "a hello and a guess": framed(wire.hello("control")) + framed(b"P" + bytes(32)),
    "a hello twice": framed(wire.hello("control")) * 2,
    "an error": framed(b"EAyou are refused"),
    "a pickle": framed(b"cos\nsystem\n(S'true'\ntR."),
}


def listeners(cluster: ByHand) -> list[tuple[str, int]]:
    hosts = cluster.status()["hosts"]
    return [wire.parse_address(cluster.address)] + [tuple(host["address"]) for host in hosts]


def answer_to(sock: socket.socket, data: bytes) -> bytes:
    """What the other side says to these bytes before it hangs up."""
    sock.settimeout(20)
    said = b""
    try:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while more := sock.recv(1 << 16):
            said += more
    except OSError as error:  # it hung up with bytes of ours unread
        assert not isinstance(error, TimeoutError), "it listens for ever"
    return said


def test_strange_bytes_on_every_tcp_port(by_hand: ByHand, program: Program) -> None:
    for address in listeners(by_hand):
        for what, data in STRANGE.items():
            with socket.create_connection(address, 20) as sock:
                assert len(answer_to(sock, data)) < wire.HANDSHAKE_LIMIT, what
    program.end()


def test_strange_bytes_on_the_unix_sockets(by_hand: ByHand, program: Program) -> None:
    for host in by_hand.status()["hosts"]:
        for what, data in STRANGE.items():
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(host["socket"])
                assert len(answer_to(sock, data)) < wire.HANDSHAKE_LIMIT, what
    program.end()


def test_a_wrong_key_opens_nothing(by_hand: ByHand, program: Program) -> None:
    for address in listeners(by_hand):
        for purpose in PURPOSES:
            with pytest.raises(AuthenticationError, match="same cluster key.*tcp://127.0.0.1"):
                wire.connect_tcp(address, purpose, KEY_OF_OTHERS)
    program.end()


def test_silent_strangers_stand_in_nobodys_way(by_hand: ByHand, program: Program) -> None:
    silent = [socket.create_connection(address) for address in listeners(by_hand) * 40]
    program.end()
    for sock in silent:
        sock.close()


def test_commands_with_a_wrong_key_say_so(by_hand: ByHand, program: Program) -> None:
    other = os.path.join(by_hand.folder, "other-key")
    with open(os.open(other, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(KEY_OF_OTHERS)
    try:
        for command in (
            ["status", "--address", by_hand.address],
            ["agent", "--join", by_hand.address],
            ["run", "--address", by_hand.address, os.devnull],
        ):
            done = run_dsmproc(*command, DSMPROC_AUTHKEY_FILE=other)
            assert done.returncode == 1 and done.stderr.count("\n") == 1, done
            assert "do not have the same cluster key" in done.stderr
            assert by_hand.address in done.stderr
    finally:
        os.unlink(other)
    program.end()


def test_what_is_no_cluster_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        there = f"tcp://127.0.0.1:{address[1]}"
        for answer, error in (
            (b"", "closed the connection: is it a dsmproc cluster"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak dsmproc's protocol"),
            (framed(b"\xff" * 100), "does not speak dsmproc's protocol"),
        ):
            pid = os.fork()
            if pid == 0:
                try:
                    other, _ = listening.accept()
                    wire.recv_frame(other, wire.HANDSHAKE_LIMIT)
                    other.sendall(answer)
                    other.close()
                finally:
                    os._exit(0)
            with pytest.raises((ConnectionError, ProtocolError), match=error) as caught:
                wire.connect_tcp(address, "query", KEY_OF_OTHERS)
            assert there in str(caught.value)
            os.waitpid(pid, 0)
    with pytest.raises(ConnectionError, match=f"nobody can be reached at {there}: .*refused"):
        wire.connect_tcp(address, "query", KEY_OF_OTHERS)
