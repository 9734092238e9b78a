"""What an engine does with bytes that no peer of ours would send."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import pytest
from hosts import Hosts
from test_engine_memory import write

from dsmproc._memory.client import Client


def frame(
    body: bytes, version: int = 2, kind: int = 1, length: int | None = None, packed: int = 0
) -> bytes:
    size = len(body) if length is None else length
    return struct.pack("<IBBH", size, version, kind, packed) + body


@pytest.mark.parametrize(
    "data",
    [
        frame(b"\xff" * 20),
        frame(b"x", version=9),
        frame(b"x", kind=7),
        frame(b"", length=2**32 - 1),
        frame(b"", packed=1),
        frame(b"\x01", packed=1),
        frame(b"\x02" + bytes(80), packed=65),
        frame(b"\x02" + bytes(18) + bytes(8), packed=1),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=[
        "message",
        "version",
        "type",
        "length",
        "no page",
        "half a page",
        "pages",
        "one page too few",
        "http",
    ],
)
@pytest.mark.parametrize("channel", ["fast", "bulk"])
def test_a_peer_that_talks_nonsense_is_dropped(tmp_path: Path, data: bytes, channel: str) -> None:
    with Hosts(1, tmp_path) as hosts:
        one, two = socket.socketpair()
        with one, two:
            hosts[0].node.call("add_peer", 5, channel, fd=two.fileno())
            one.sendall(data)
            until = time.monotonic() + 10
            while not (lost := hosts[0].node.call("notices", "peer_lost")):
                assert time.monotonic() < until
                time.sleep(0.01)
            assert [notice.host for notice in lost] == [5]
            two.close()
            one.settimeout(10)
            assert one.recv(1) == b""
        region = hosts.region(1)  # and nothing else has suffered
        assert hosts[0].run(write, region, 0, b"x").result() > 0


def test_half_a_frame_waits_for_its_other_half(tmp_path: Path) -> None:
    with Hosts(1, tmp_path) as hosts:
        one, two = socket.socketpair()
        with one, two:
            hosts[0].node.call("add_peer", 5, "fast", fd=two.fileno())
            for i in range(9):
                one.sendall(frame(b"\xff" * 4)[i : i + 1])
            assert not hosts[0].node.call("notices", "peer_lost")
            assert hosts[0].run(lambda client: client.new_id()).result() > 0


@pytest.mark.parametrize("kind", [0, 2, 3, 4, 5, 8, 9, 10, 11, 13, 99])
def test_requests_that_make_no_sense_are_refused(tmp_path: Path, kind: int) -> None:
    from dsmproc._memory.client import Status, new_request

    def body(client: Client, kind: int) -> tuple[int, int]:
        return client.run(new_request(kind)), client.publish()

    with Hosts(1, tmp_path) as hosts:
        status, stamp = hosts[0].run(body, kind).result()
        assert stamp == 0
        if kind == 13:
            assert status == Status.OK
        else:
            assert status in (Status.WRONG, Status.SYSTEM)


def test_a_client_of_raw_bytes_is_dropped_or_ignored(tmp_path: Path) -> None:
    with Hosts(1, tmp_path) as hosts:
        for data in (b"\xff" * 40, b"\0" * 400, b"half"):
            with socket.socket(socket.AF_UNIX) as raw:
                raw.connect(hosts[0].path)
                raw.sendall(data)
        assert hosts[0].run(lambda client: client.new_id()).result() > 0
