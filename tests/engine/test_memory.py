"""Pages between hosts: what one writes and publishes, the other observes and reads."""

from __future__ import annotations

from pathlib import Path

from hosts import Hosts

from dsmproc._binding import Client


def write(client: Client, region: int, at: int, data: bytes) -> int:
    memory = client.attach(region)
    memory[at : at + len(data)] = data
    return client.publish()


def read(client: Client, region: int, stamp: int, at: int, size: int) -> bytes:
    memory = client.attach(region)
    client.observe(stamp)
    return bytes(memory[at : at + size])


def test_a_write_is_seen_elsewhere(tmp_path: Path, mechanism: str) -> None:
    with Hosts(2, tmp_path) as hosts:
        region = hosts.region(8)
        stamp = hosts[0].run(write, region, 5000, b"hello").result()
        assert stamp > 0
        assert hosts[1].run(read, region, stamp, 4999, 7).result() == b"\0hello\0"
        assert hosts[0].run(read, region, stamp, 4999, 7).result() == b"\0hello\0"
        assert hosts.stat("pages_fetched") >= 1
        hosts.healthy()
