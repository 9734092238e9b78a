"""The handshake and the frames, without processes."""

from __future__ import annotations

import pickle
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from dsmproc._net import wire
from dsmproc._net.seal import Seals
from dsmproc.errors import AuthenticationError, ProtocolError

KEY = b"k" * 32
PURPOSES = {"spawn", "query"}


def talk(
    client: wire.ClientSteps, server: wire.ServerSteps
) -> tuple[Seals | None, str, Seals | None]:
    """Let the two state machines speak; the client's value, the server's purpose and seals."""
    next(server)
    frame = next(client)
    purpose = last = seals = None
    while True:
        if purpose is None:
            try:
                answer = server.send(frame)
            except StopIteration as done:
                purpose, answer, seals = done.value
                last = answer
        assert purpose is None or answer is last
        try:
            frame = client.send(answer)
        except StopIteration as done:
            assert purpose is not None
            return done.value, purpose, seals


def test_both_sides_prove_that_they_have_the_key() -> None:
    client, purpose, server = talk(wire.client_side("spawn", KEY), wire.server_side(KEY, PURPOSES))
    assert client is not None and purpose == "spawn" and server is not None


def test_unix_sockets_need_no_proof() -> None:
    ends = talk(wire.client_side("query", None), wire.server_side(None, PURPOSES))
    assert ends == (None, "query", None)


def test_both_sides_have_the_same_keys() -> None:
    client, _, server = talk(wire.client_side("query", KEY), wire.server_side(KEY, PURPOSES))
    assert client is not None and server is not None
    for sender, receiver in ((client, server), (server, client)):
        for number in range(3):
            frame = b"frame %d" % number
            receiver.receiving.check(sender.sending.tag(frame), frame)
    assert client.engine == server.engine[::-1] and client.engine[0] != client.engine[1]
    again, _, _ = talk(wire.client_side("query", KEY), wire.server_side(KEY, PURPOSES))
    assert again is not None and again.engine != client.engine  # every connection has its own


def test_a_client_with_another_key_is_refused() -> None:
    with pytest.raises(AuthenticationError, match="same cluster key"):
        talk(wire.client_side("spawn", b"x" * 32), wire.server_side(KEY, PURPOSES))


def test_a_server_with_another_key_is_refused() -> None:
    """It cannot check the client, so it accepts anything; its own proof is wrong."""
    client = wire.client_side("spawn", KEY)
    hello = next(client)
    mine = wire.hello("")
    client.send(mine)
    with pytest.raises(AuthenticationError, match="same cluster key"):
        client.send(wire._proof(b"x" * 32, b"server", hello, mine))


def test_a_proof_cannot_be_sent_back() -> None:
    """The server's proof is not the client's: an attacker who reflects it proves nothing."""
    client = wire.client_side("spawn", KEY)
    next(client)
    proof = client.send(wire.hello(""))
    with pytest.raises(AuthenticationError):
        client.send(proof)


def test_a_proof_cannot_be_used_again() -> None:
    recorded = wire.client_side("spawn", KEY)
    hello = next(recorded)
    proof = recorded.send(wire.hello(""))
    server = wire.server_side(KEY, PURPOSES)
    next(server)
    server.send(hello)
    with pytest.raises(AuthenticationError):
        server.send(proof)


def changed_hello(purpose: str, offset: int, value: bytes) -> bytes:
    hello = bytearray(wire.hello(purpose))
    hello[offset : offset + len(value)] = value
    return bytes(hello)


@pytest.mark.parametrize(
    ("offset", "value", "sentence"),
    [
        (5, struct.pack("<H", 9), "speaks protocol 9, the other side protocol 3: a cluster"),
        (8, b"\x01", r"runs Python 3.1, the other side Python 3\.\d+: a cluster needs one minor"),
        (1, b"HTTP", "does not speak dsmproc's protocol"),
        (10, b"\xfe", r"runs dsmproc 0\.254, the other side dsmproc \d+\.\d+: a cluster needs"),
        (11, b"\xff", "does not speak dsmproc's protocol"),
    ],
)
def test_a_mismatch_is_one_clear_sentence(offset: int, value: bytes, sentence: str) -> None:
    server = wire.server_side(KEY, PURPOSES)
    next(server)
    with pytest.raises(ProtocolError, match=sentence) as caught:
        server.send(changed_hello("spawn", offset, value))
    refusal = wire.refuse(caught.value)
    client = wire.client_side("spawn", KEY)
    next(client)
    with pytest.raises(ProtocolError, match=sentence):
        client.send(refusal)


@pytest.mark.parametrize("frame", [b"", b"H", b"P" * 33, b"H" + b"x" * 500, b"E", b"EA\xff\xfe"])
def test_nonsense_is_an_error_of_ours(frame: bytes) -> None:
    for steps in (wire.server_side(KEY, PURPOSES), wire.client_side("spawn", KEY)):
        next(steps)
        with pytest.raises((ProtocolError, AuthenticationError)):
            steps.send(frame)


@pytest.fixture
def pair() -> Iterator[tuple[wire.Wire, wire.Wire]]:
    one, two = (wire.Wire(sock) for sock in socket.socketpair())
    yield one, two
    one.close()
    two.close()


def test_frames(pair: tuple[wire.Wire, wire.Wire]) -> None:
    one, two = pair
    one.send({"a": [1, 2]})
    assert two.recv() == {"a": [1, 2]}
    big = bytes(range(256)) * 4096
    sender = threading.Thread(target=one.send_bytes, args=(b"head", memoryview(big)))
    sender.start()
    assert two.recv_bytes() == b"head" + big
    sender.join()


def test_a_frame_may_not_be_longer_than_its_limit(pair: tuple[wire.Wire, wire.Wire]) -> None:
    one, two = pair
    one.sock.sendall(struct.pack("<Q", wire.HANDSHAKE_LIMIT + 1))
    with pytest.raises(ProtocolError, match="limit"):
        wire.recv_frame(two.sock, wire.HANDSHAKE_LIMIT)


def test_a_closed_connection_is_end_of_file(pair: tuple[wire.Wire, wire.Wire]) -> None:
    one, two = pair
    one.sock.sendall(struct.pack("<Q", 10) + b"half")
    one.close()
    with pytest.raises(EOFError):
        two.recv_bytes()


def test_nothing_is_read_beyond_the_last_frame(pair: tuple[wire.Wire, wire.Wire]) -> None:
    """A descriptor is handed on after a frame: what follows belongs to its next owner."""
    one, two = pair
    one.send("last")
    one.sock.sendall(b"raw")
    assert two.recv() == "last"
    with socket.socket(fileno=two.detach()) as rest:
        assert rest.recv(10) == b"raw"


def test_addresses() -> None:
    assert wire.parse_address("tcp://10.0.0.1:80") == ("10.0.0.1", 80)
    assert wire.parse_address("somewhere:81") == ("somewhere", 81)
    assert wire.parse_address("tcp://[::1]:82") == ("::1", 82)
    assert wire.format_address(("::1", 82)) == "tcp://[::1]:82"
    with pytest.raises(ValueError, match="looks like"):
        wire.parse_address("nothing")


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("fe80::1", False),
        ("0.0.0.0", False),
        ("1.127.0.0", False),
    ],
)
def test_loopback(host: str, here: bool) -> None:
    assert wire.is_loopback(host) is here


def test_errors_survive_pickling() -> None:
    from dsmproc import HostLostError, WorkerLostError

    lost = pickle.loads(pickle.dumps(HostLostError("gone", 3)))
    assert (str(lost), lost.host) == ("gone", 3)
    worker = pickle.loads(pickle.dumps(WorkerLostError("gone", 1, 22, -9)))
    assert (worker.host, worker.pid, worker.exitcode) == (1, 22, -9)
