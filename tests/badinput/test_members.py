"""Who has the key and speaks nonsense: his connection ends, or his host; the others go on."""

from __future__ import annotations

import errno
import pickle
import random
import socket
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from helpers import ByHand, eventually
from program import Program

from dsmproc._channels import frames
from dsmproc._native.ffi import ffi, lib
from dsmproc._net import wire
from dsmproc.errors import ProtocolError

LENGTH = struct.Struct("<Q")
MANY = 1 << 40


def framed(body: bytes) -> bytes:
    return LENGTH.pack(len(body)) + body


def pickled(value: Any) -> bytes:
    return framed(pickle.dumps(value))


class Said(NamedTuple):
    frames: list[bytes]  # each with the right tag behind it, where there are tags
    rest: bytes = b""


NONSENSE = {
    "no pickle": Said([framed(b"\xff" * 100)]),
    "a pickle of something else": Said([pickled(3), pickled(["x"]), pickled(None)]),
    "a pickle of a missing class": Said([framed(b"cno_such_module\nnothing\n.")]),
    "words that nobody knows": Said([pickled(("frobnicate", 1, 2))] * 2),
    "the right word, the wrong rest": Said([pickled(("join", {"slots": 1}))] * 2),
    "a truncated frame": Said([], pickled(("ready",))[:-3]),
    "a terabyte": Said([], LENGTH.pack(MANY) + b"x" * 100_000),
    "more than a terabyte": Said([], LENGTH.pack(MANY + 1)),
    "the greatest length": Said([], b"\xff" * 8),
    "an empty frame": Said([framed(b"")] * 3),
    "the handshake again": Said([framed(wire.hello("query"))], bytes(100)),
    "no tag": Said([], pickled(("ready",)) + bytes(16)),
}
AT_MASTER = ["control", "output", "console", "query", "engine-master"]
AT_AGENT = ["spawn", "client", "modules", "channel", "engine-fast", "engine-bulk", "dial"]
AT_AGENT += ["pool-driver"]
LOCAL = ["session", "parcel", "wire", "partings", "pool-worker", "pool-shared", "engine-client"]

Connect = Callable[[str], wire.Wire]


def connections(cluster: ByHand) -> list[tuple[str, Connect]]:
    """Every purpose of every listener, and how to speak there."""
    key = wire.read_key(cluster.key_file)
    master = wire.parse_address(cluster.address)
    found: list[tuple[str, Connect]] = [
        (purpose, lambda purpose: wire.connect_tcp(master, purpose, key)) for purpose in AT_MASTER
    ]
    for host in cluster.status()["hosts"]:
        address, path = tuple(host["address"]), host["socket"]
        for purpose in AT_AGENT:
            found.append((purpose, lambda purpose, to=address: wire.connect_tcp(to, purpose, key)))
            found.append((purpose, lambda purpose, to=path: wire.connect_unix(to, purpose)))
        for purpose in set(LOCAL) - {
            "pool-worker"
        }:  # its number may be right: it waits for its pool
            found.append((purpose, lambda purpose, to=path: wire.connect_unix(to, purpose)))
    return found


def say(wired: wire.Wire, said: Said) -> None:
    """And wait until it is heard and the other side has hung up."""
    with wired:
        wired.sock.settimeout(20)
        try:
            for frame in said.frames:
                tag = b"" if wired.seals is None else wired.seals.sending.tag(frame)
                wired.sock.sendall(frame + tag)
            wired.sock.sendall(said.rest)
            wired.sock.shutdown(socket.SHUT_WR)
            while wired.sock.recv(1 << 16):
                pass
        except TimeoutError:
            raise
        except OSError:  # it hung up with bytes of ours unread
            pass


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_on_every_connection(by_hand: ByHand, program: Program, what: str) -> None:
    for purpose, connect in connections(by_hand):
        say(connect(purpose), NONSENSE[what])
    program.end()
    assert [host["id"] for host in by_hand.status()["hosts"]] == [0, 1]


def test_what_is_for_processes_of_the_host_is_not_served_over_tcp(by_hand: ByHand) -> None:
    key = wire.read_key(by_hand.key_file)
    (host,) = by_hand.status()["hosts"]
    for purpose in LOCAL:
        with pytest.raises(ProtocolError, match=f"serves no connections for '{purpose}'"):
            wire.connect_tcp(tuple(host["address"]), purpose, key)


def test_shuffled_frames_of_a_channel(by_hand: ByHand, program: Program) -> None:
    """Every word of the broker's language in any order, with any numbers."""
    rng = random.Random(5)
    attach = frames.frame(frames.ATTACH, 1, frames.Attach(0, 3, 3, 4, 9, 0, 0).pack())
    agents = [(p, c) for p, c in connections(by_hand) if p == "channel"]
    for round in range(30):
        purpose, connect = agents[round % len(agents)]
        words = [attach] if round % 3 else []
        for _ in range(rng.randrange(1, 12)):
            kind = rng.randrange(0, 45)
            body = rng.randbytes(rng.choice([0, 3, 8, 9, 12, 24, 42, 50, 40_000]))
            number = rng.choice([0, 1, 2, 1 << 31])
            words.append(
                frames.frame(
                    kind, number, body, flags=rng.randrange(4), tickets=rng.choice([0, 1, 9999])
                )
            )
        say(connect(purpose), Said(words, frames.HEADER.pack(frames.SEND, 0, 0, 0, 0, MANY)))
    program.end()


def sealed(key: bytes, number: int, frame: bytes) -> bytes:
    """The frame of an engine, with its tag behind it."""
    tag = ffi.new("uint8_t[16]")
    lib.dsmproc_frame_tag(key, number, frame, len(frame), tag)
    return frame + bytes(ffi.buffer(tag))


class EngineWire:
    """Our end of a connection between two engines."""

    def __init__(self, wired: wire.Wire) -> None:
        assert wired.seals is not None
        self.sock = wired.sock
        self.sock.settimeout(20)
        self.send_key, self.receive_key = wired.seals.engine
        self._sent = 0

    def send(self, *frames: bytes) -> None:
        numbered = enumerate(frames, self._sent)
        self._sent += len(frames)
        self.sock.sendall(b"".join(sealed(self.send_key, n, frame) for n, frame in numbered))

    def __enter__(self) -> EngineWire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


class FalseHost:
    """It joins as an agent does, and then says what it likes."""

    def __init__(self, cluster: ByHand) -> None:
        self._cluster = cluster
        self.key = wire.read_key(cluster.key_file)
        self.master = wire.parse_address(cluster.address)
        self.control = wire.connect_tcp(self.master, "control", self.key)
        self.control.sock.settimeout(20)
        self.listening = socket.create_server(("127.0.0.1", 0))
        offer = {
            "address": self.listening.getsockname(),
            "slots": 1,
            "pid": 1,
            "name": "elsewhere",
            "limit": 1 << 30,
            "machine": "elsewhere",
            "memory": 1 << 30,
            "socket": "/nowhere",
            "wish": None,
        }
        word, self.host, self.others, _ = self.control.request(("join", offer))
        assert word == "welcome"

    def engine(self, channel: str, address: tuple[str, int]) -> EngineWire:
        """A connection that the other side's engine has."""
        wired = wire.connect_tcp(address, f"engine-{channel}", self.key)
        assert wired.request(self.host) == "ok"
        return EngineWire(wired)

    def expelled(self) -> str:
        """Why, in the master's words; the host is no member then."""
        while (message := self.control.recv())[0] != "expelled":
            pass
        hosts = self._cluster.status()["hosts"]
        assert self.host not in [host["id"] for host in hosts]
        return str(message[1])

    def close(self) -> None:
        self.control.close()
        self.listening.close()


@pytest.fixture
def false_host(by_hand: ByHand, program: Program) -> Any:
    host = FalseHost(by_hand)
    yield host
    host.close()


def core_frame(body: bytes) -> bytes:
    return struct.pack("<IBBH", len(body), 2, 1, 0) + body


TO_ENGINES = {
    "another version": struct.pack("<IBBH", 4, 9, 1, 0) + bytes(4),
    "another kind": struct.pack("<IBBH", 4, 2, 9, 0) + bytes(4),
    "an oversized frame": struct.pack("<IBBH", (96 << 20) + 1, 2, 1, 0),
    "an unknown message": core_frame(b"\xc8" + bytes(30)),
    "a GET without its end": core_frame(b"\x01" + bytes(9)),
    "a message with a tail": core_frame(b"\x12" + bytes(4)),
    "random bytes": random.Random(1).randbytes(5000),
}


@pytest.mark.parametrize("what", TO_ENGINES)
def test_nonsense_to_the_masters_engine(
    by_hand: ByHand, program: Program, false_host: FalseHost, what: str
) -> None:
    with false_host.engine("master", false_host.master) as engine:
        engine.send(TO_ENGINES[what])
        assert "is no message of the protocol" in false_host.expelled()
    program.end()


@pytest.mark.parametrize("what", TO_ENGINES)
def test_nonsense_to_an_agents_engine(
    by_hand: ByHand, program: Program, false_host: FalseHost, what: str
) -> None:
    with false_host.engine("master", false_host.master):
        for address in [tuple(other["address"]) for other in false_host.others]:
            fast, bulk = (false_host.engine(channel, address) for channel in ("fast", "bulk"))
            with fast, bulk:
                bulk.send(TO_ENGINES[what])
                assert bulk.sock.recv(1) == b""
        assert "is no message of the protocol" in false_host.expelled()
    program.end()


def test_sound_messages_that_nobody_asked_for(
    by_hand: ByHand, program: Program, false_host: FalseHost
) -> None:
    """A page, an acknowledgement, a grant: ignored, or the end of the false host alone."""
    page = struct.pack("<BIQHII", 2, 7, 1 << 32, 1, 0, 0) + b"\xee" * 4096
    acknowledged = struct.pack("<BHQIII", 4, 1, 1 << 32, 0, 0, 0)
    diff = struct.pack("<BHQII", 3, 1, 1 << 32, 0, 6) + b"\0\0\0\1\0\xee"
    granted = struct.pack("<BQ", 38, 1)
    with false_host.engine("master", false_host.master):
        for other in false_host.others:
            with false_host.engine("fast", tuple(other["address"])) as engine:
                for message in (page, acknowledged, granted, diff):
                    engine.send(*[core_frame(message)] * 3)
                    program.goes_on()
    program.end()


def test_a_host_that_leaves_half_a_frame(
    by_hand: ByHand, program: Program, false_host: FalseHost
) -> None:
    """The rest never comes: nobody waits for it, and its end is a host's end."""
    with false_host.engine("master", false_host.master) as engine:
        engine.sock.sendall(core_frame(bytes(100))[:50])
        program.goes_on()
    assert "the master's ended" in false_host.expelled()
    program.end()


@pytest.mark.parametrize(
    "message", [("frobnicate",), ("call", 1, "hosts"), 5, ("gone",), ("join", {})]
)
def test_a_control_connection_that_says_nonsense(
    by_hand: ByHand, program: Program, false_host: FalseHost, message: Any
) -> None:
    false_host.control.send(message)
    eventually(lambda: len(by_hand.status()["hosts"]) == 2, what="its end")
    program.end()


def test_hosts_that_do_not_exist_have_no_engine(by_hand: ByHand, program: Program) -> None:
    key = wire.read_key(by_hand.key_file)
    agent = tuple(by_hand.status()["hosts"][1]["address"])
    for number in (-1, 256, 1 << 70, "x", None, 1.5):
        for purpose, address in (
            ("engine-master", wire.parse_address(by_hand.address)),
            ("engine-fast", agent),
        ):
            with wire.connect_tcp(address, purpose, key) as wired, pytest.raises(EOFError):
                wired.request(number)
    master = wire.parse_address(by_hand.address)
    with wire.connect_tcp(master, "engine-master", key) as wired, pytest.raises(EOFError):
        wired.request(0)  # it has one
    program.end()


def test_an_agent_connects_to_addresses_of_its_host_alone(
    by_hand: ByHand, program: Program
) -> None:
    key = wire.read_key(by_hand.key_file)
    agent = tuple(by_hand.status()["hosts"][1]["address"])
    port = agent[1]  # somebody listens there
    others = [("192.0.2.1", port), ("localhost", port), ("127.0.0.1", port, 0), ["127.0.0.1", port]]
    others += [("127.0.0.1", "x"), ("127.0.0.1", 1 << 20), "", "relative", None, 7]
    for address in others:
        with wire.connect_tcp(agent, "dial", key) as wired, pytest.raises(EOFError):
            wired.request(address)
    for nobody in ("/nobody/listens", "\0nobody listens"):
        with wire.connect_tcp(agent, "dial", key) as wired:
            assert wired.request(nobody) in (errno.ENOENT, errno.ECONNREFUSED)
    program.end()


def test_an_argument_that_is_not_what_its_digest_says(by_hand: ByHand, program: Program) -> None:
    key = wire.read_key(by_hand.key_file)
    host = by_hand.status()["hosts"][1]
    digest = bytes(32)
    with wire.connect_tcp(tuple(host["address"]), "spawn", key) as wired:
        assert wired.request({"parcels": [digest]}) == [digest]
        wired.send_bytes(b"something else")
        with pytest.raises(EOFError):
            wired.recv()
    with wire.connect_unix(host["socket"], "parcel") as wired, pytest.raises(EOFError):
        wired.request(digest)
    program.end()
