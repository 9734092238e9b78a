"""Somebody on the wire changes, repeats or makes frames: he ends a connection, nothing more."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from helpers import ByHand, RunScript, eventually
from program import Program
from test_members import FalseHost, core_frame, sealed

from dsmproc._net import wire
from dsmproc._net.seal import ForgedFrameError

NOT_OURS = "was not made with the cluster's key"


class Middle:
    """Passes on what two sides of each connection say, and flips a bit when it is told to."""

    def __init__(self, to: tuple[str, int]) -> None:
        self._to = to
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._seen: dict[socket.socket, bytes] = {}  # the begin of what each side has said
        self._spoil = b""
        self.spoilt = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def spoil(self, purpose: bytes) -> None:
        """The next bytes of a client that came for this purpose."""
        self._spoil = purpose

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                if key.fileobj is self._listening:
                    self._accept()
                else:
                    self._pass_on(key.fileobj, key.data)  # type: ignore[arg-type]

    def _accept(self) -> None:
        one = self._listening.accept()[0]
        two = socket.create_connection(self._to)
        for sock, other in ((one, two), (two, one)):
            self._selector.register(sock, selectors.EVENT_READ, other)
            self._seen[sock] = b""

    def _pass_on(self, one: socket.socket, two: socket.socket) -> None:
        if one.fileno() < 0:
            return  # closed with the other one in this round
        data = b""
        with contextlib.suppress(OSError):
            data = one.recv(1 << 16)
        if self._spoil and data and self._spoil in self._seen[one]:
            data = data[:-1] + bytes([data[-1] ^ 1])
            self._spoil = b""
            self.spoilt.set()
        self._seen[one] = (self._seen[one] + data)[:200]
        with contextlib.suppress(OSError):
            two.sendall(data)
        if not data:
            for sock in (one, two):
                self._selector.unregister(sock)
                sock.close()

    def close(self) -> None:
        self._wake.sendall(b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._wake.close()
        self._selector.close()


@pytest.fixture
def middle(by_hand: ByHand) -> Iterator[Middle]:
    """Between host 2 and the master."""
    spoiler = Middle(wire.parse_address(by_hand.address))
    yield spoiler
    spoiler.close()


@pytest.mark.parametrize("purpose", [b"control", b"output", b"engine-master"])
def test_a_bit_changed_on_the_way(
    by_hand: ByHand, middle: Middle, run_script: RunScript, purpose: bytes
) -> None:
    by_hand.agent()
    by_hand.wait_for(2)
    program = Program(by_hand, run_script)
    agent = by_hand.command("agent", "--join", middle.address)
    by_hand.wait_for(3)
    other = run_script.start(
        """
        import sys, time
        import dsmproc as mp

        def talk():
            while True:
                memory = mp.SharedMemory(create=True, size=4096)
                memory.buf[0] = 1
                memory.close()
                memory.unlink()
                print("talk", flush=True)
                time.sleep(0.01)

        process = mp.Process(target=talk)
        process._dsmproc_host = 2
        process.start()
        print("ready=1", flush=True)
        try:
            process.join()
        except mp.HostLostError as error:
            print("lost", error, flush=True)
        """,
        address=by_hand.address,
    )
    other.read_until("talk")
    middle.spoil(purpose)
    assert middle.spoilt.wait(20)
    assert agent.wait(20) == 1
    result = other.wait()
    assert "lost process" in result.out
    if purpose == b"engine-master":
        assert NOT_OURS in result.out
    program.end()


ATTACH = core_frame(struct.pack("<BI", 19, 4_000_000))  # of a region that does not exist
FORGERIES = {
    "no tag": lambda key: ATTACH + bytes(16),
    "a flipped bit": lambda key: sealed(key, 0, ATTACH)[:-1] + b"\x00",
    "another body": lambda key: ATTACH[:-1] + b"\x07" + sealed(key, 0, ATTACH)[-16:],
    "twice the same": lambda key: sealed(key, 0, ATTACH) * 2,
    "out of order": lambda key: sealed(key, 1, ATTACH) + sealed(key, 0, ATTACH),
    "one left out": lambda key: sealed(key, 0, ATTACH) + sealed(key, 2, ATTACH),
    "another key": lambda key: sealed(bytes(16), 0, ATTACH),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_forged_frames_to_an_engine(by_hand: ByHand, program: Program, what: str) -> None:
    forger = FalseHost(by_hand)
    with forger.engine("master", forger.master) as engine:
        data = FORGERIES[what](engine.send_key)
        if data[-1:] == sealed(engine.send_key, 0, ATTACH)[-1:] and what == "a flipped bit":
            data = data[:-1] + b"\x01"
        engine.sock.sendall(data)
        assert NOT_OURS in forger.expelled()
    forger.close()
    program.end()


def test_frames_with_right_tags_are_heard(by_hand: ByHand, program: Program) -> None:
    forger = FalseHost(by_hand)
    with forger.engine("master", forger.master) as engine:
        for number in range(3):
            engine.send(ATTACH)
            length = struct.unpack("<I", engine.sock.recv(4, socket.MSG_WAITALL))[0]
            rest = engine.sock.recv(4 + length + 16, socket.MSG_WAITALL)
            frame = struct.pack("<I", length) + rest[:-16]
            assert sealed(engine.receive_key, number, frame)[-16:] == rest[-16:]
            assert rest[4] == 36  # REGION: there is none
    forger.close()
    eventually(lambda: len(by_hand.status()["hosts"]) == 2)
    program.end()


def test_a_forged_frame_of_the_master_is_a_lost_connection(by_hand: ByHand) -> None:
    key = wire.read_key(by_hand.key_file)
    with wire.connect_tcp(wire.parse_address(by_hand.address), "query", key) as wired:
        assert wired.request(("status", None))["hosts"]
        assert wired.seals is not None
        wired.seals.receiving.tag(b"")  # as if a frame had been dropped
        with pytest.raises(ForgedFrameError):
            wired.request(("status", None))


def test_connections_inside_a_machine_have_tags(by_hand: ByHand) -> None:
    key = wire.read_key(by_hand.key_file)
    addresses = [wire.parse_address(by_hand.address)]
    addresses += [tuple(host["address"]) for host in by_hand.status()["hosts"]]
    for address, purpose in zip(addresses, ("query", "client"), strict=True):
        with wire.connect_tcp(address, purpose, key) as wired:
            assert wired.seals is not None
