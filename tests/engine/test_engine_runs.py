"""Faults in a row bring runs; what a run brought in vain is as if it had not been brought."""

from __future__ import annotations

from pathlib import Path

from hosts import Hosts

from dsmproc._memory.client import Client

PAGE = 4096


def test_writes_in_a_row_fault_seldom_and_only_written_pages_are_announced(tmp_path: Path) -> None:
    def writer(client: Client, region: int, pages: int) -> int:
        memory = client.attach(region)
        for page in range(pages):
            memory[page * PAGE + 7] = 1 + page % 255
        return client.publish()

    def reader(client: Client, region: int, stamp: int) -> bytes:
        memory = client.attach(region)
        client.observe(stamp)
        return bytes(memory[7::PAGE])

    with Hosts(2, tmp_path, tick=0) as hosts:
        region = hosts.region(512)
        hosts[1].run(reader, region, 0).result()  # it is there to be told
        told = hosts.stat("notices_received")
        stamp = hosts[0].run(writer, region, 300).result()
        assert hosts.stat("write_faults") < 300 / 10
        wanted = bytes(1 + page % 255 if page < 300 else 0 for page in range(512))
        assert hosts[1].run(reader, region, stamp).result() == wanted
        assert hosts.stat("notices_received") - told == 300
        hosts.healthy()


def test_a_page_opened_in_vain_is_written_later(tmp_path: Path) -> None:
    def writer(client: Client, region: int) -> tuple[int, int]:
        memory = client.attach(region)
        memory[0] = memory[PAGE] = 1  # opens page 2
        first = client.publish()
        memory[2 * PAGE] = 1
        return first, client.publish()

    def reader(client: Client, region: int, stamp: int) -> bytes:
        memory = client.attach(region)
        client.observe(stamp)
        return bytes(memory[::PAGE])

    with Hosts(2, tmp_path, tick=0) as hosts:
        region = hosts.region(4)
        first, second = hosts[0].run(writer, region).result()
        assert second > first
        assert hosts[1].run(reader, region, second).result() == b"\1\1\1\0"
        assert hosts.stat("write_faults") == 3
        hosts.healthy()


def test_reads_in_a_row_ask_ahead(tmp_path: Path) -> None:
    pages = 2048

    def writer(client: Client, region: int) -> int:
        memory = client.attach(region)
        for page in range(pages):
            memory[page * PAGE : page * PAGE + 2] = page.to_bytes(2, "little")
        return client.publish()

    def reader(client: Client, region: int, stamp: int) -> bool:
        memory = client.attach(region)
        client.observe(stamp)
        return all(
            int.from_bytes(memory[page * PAGE : page * PAGE + 2], "little") == page
            for page in range(pages)
        )

    with Hosts(2, tmp_path, tick=0) as hosts:
        region = hosts.region(pages)
        stamp = hosts[0].run(writer, region).result()
        assert hosts[1].run(reader, region, stamp).result()
        assert hosts.stat("pages_fetched") == pages  # each one once
        assert hosts.stat("read_faults") < 2 * pages / 64 + 10
        hosts.healthy()


def test_a_row_that_goes_down_brings_runs_too(tmp_path: Path) -> None:
    pages = 512

    def writer(client: Client, region: int) -> int:
        memory = client.attach(region)
        for page in reversed(range(pages)):
            memory[page * PAGE : page * PAGE + 2] = (page + 1).to_bytes(2, "little")
        return client.publish()

    def reader(client: Client, region: int, stamp: int) -> bool:
        memory = client.attach(region)
        client.observe(stamp)
        return all(
            int.from_bytes(memory[page * PAGE : page * PAGE + 2], "little") == page + 1
            for page in reversed(range(pages))
        )

    with Hosts(2, tmp_path, tick=0) as hosts:
        region = hosts.region(pages)
        stamp = hosts[0].run(writer, region).result()
        assert hosts.stat("write_faults") < pages / 64 + 10
        assert hosts[1].run(reader, region, stamp).result()
        assert hosts.stat("pages_fetched") == pages
        assert hosts.stat("read_faults") < pages / 64 + 10
        hosts.healthy()


def test_a_band_is_read_without_what_lies_behind_it(tmp_path: Path) -> None:
    band = 64

    def writer(client: Client, region: int) -> int:
        memory = client.attach(region)
        for page in range(4 * band):
            memory[page * PAGE] = 1
        return client.publish()

    def reader(client: Client, region: int, stamp: int) -> int:
        memory = client.attach(region)
        client.observe(stamp)
        return sum(memory[page * PAGE] for page in range(band, 2 * band))

    with Hosts(2, tmp_path, tick=0) as hosts:
        region = hosts.region(4 * band)
        stamp = hosts[0].run(writer, region).result()
        assert hosts[1].run(reader, region, stamp).result() == band
        assert hosts.stat("pages_fetched") == band
        hosts.healthy()
