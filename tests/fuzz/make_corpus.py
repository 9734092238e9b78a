"""Write the kept inputs of the fuzzers: what hosts and the master heard in some simulated worlds.

python -m tests.fuzz.make_corpus
"""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

from dsmproc._native._core import lib as C

from ..sim.binding import Core
from ..sim.swarm import Options, run_one
from ..sim.trace import Trace

HERE = Path(__file__).parent / "corpus"
SEEDS = [1, 4, 8, 33, 84, 154, 444, 947, 2331, 3836]
RESULTS = (C.DSM_EV_DIFFED, C.DSM_EV_WORDED)  # the fuzzer makes these itself


class Recorder(Trace):
    """Keeps the events of host 0 and of the master as the fuzzers read them."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[str, bytes] = {"host": b"", "master": b""}

    def event(self, host: Any, kind: int, event: dict[str, Any]) -> None:
        name = "master" if host is None else "host"
        if kind in RESULTS or (host is not None and host.number != 0):
            return
        data = event.get("data", b"")
        source = min(event.get("host", 0), 255)
        client = event.get("client", 0)
        id, arg = event.get("id", 0), event.get("arg", 0)
        head = struct.pack("<BBBQQH", kind, source, client & 3, id, arg, len(data))
        if len(self.heard[name]) < 3000:
            self.heard[name] += head + data


def messages(heard: bytes, world: int) -> bytes:
    """The first few messages among those events, as fuzz_wire reads them."""
    head = struct.Struct("<BBBQQH")
    made, at, count = bytes([world]), 0, 0
    while at + head.size <= len(heard) and count < 8:
        kind, source, _, _, _, length = head.unpack_from(heard, at)
        at += head.size
        if kind == C.DSM_EV_MESSAGE:
            made += struct.pack("<BH", source, length) + heard[at : at + length]
            count += 1
        at += length
    return made


def diffs(rng: random.Random) -> list[bytes]:
    buffers = Core().pages(64)
    made = []
    for share in (1, 8, 40):
        twin = rng.randbytes(64)
        page = bytearray(twin)
        for at in rng.sample(range(64), share):
            page[at] ^= 1
        made.append(bytes([2]) + buffers.encode(bytes(page), twin)[0])
    return made


def packed(rng: random.Random) -> list[bytes]:
    """Two packed pages of 64 bytes with these masks; the same bytes also make pages to pack."""
    made = []
    for masks in (b"\0\0", b"\x01\x11", b"\xff\x07"):
        size = sum(bin(mask).count("1") for mask in masks) * 8
        made.append(bytes([1, 1]) + rng.randbytes(size) + masks)
    return made


def main() -> None:
    for name, made in zip("abc", packed(random.Random(1)), strict=True):
        (HERE / "pack").mkdir(parents=True, exist_ok=True)
        (HERE / "pack" / name).write_bytes(made)
    for name, made in zip("abc", diffs(random.Random(1)), strict=True):
        (HERE / "diff").mkdir(parents=True, exist_ok=True)
        (HERE / "diff" / name).write_bytes(made)
    for seed in SEEDS:
        recorder = Recorder()
        run_one(Core(), seed, Options(), recorder)
        for name, heard in recorder.heard.items():
            (HERE / name).mkdir(parents=True, exist_ok=True)
            (HERE / name / f"seed{seed}").write_bytes(heard)
            (HERE / "wire").mkdir(parents=True, exist_ok=True)
            world = 4 * SEEDS.index(seed) + (4 * len(SEEDS) if name == "master" else 0)
            (HERE / "wire" / f"{name}{seed}").write_bytes(messages(heard, world))


if __name__ == "__main__":
    main()
