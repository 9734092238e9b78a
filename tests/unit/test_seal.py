"""The tags of frames: the published algorithm, and what it must notice."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import socket
import subprocess
import threading

import pytest

from dsmproc._native.ffi import ffi, lib
from dsmproc._net import seal, wire
from dsmproc._net.seal import ForgedFrameError, Seal, Seals

# SipHash-2-4 with 128 bits of output, as its authors published it: the key is 00 01 … 0f, the input
# 00 01 … (n - 1). The engine hashes a frame's number first, so inputs begin at 8 bytes.
KEY = bytes(range(16))
VECTORS = {
    8: "3b62a9ba6258f5610f83e264f31497b4",
    9: "264499060ad9baabc47f8b02bb6d71ed",
    15: "5493e99933b0a8117e08ec0f97cfc3d9",
    16: "6ee2a4ca67b054bbfd3315bf85230577",
    31: "2939b0183223fafc1723de4f52c43d35",
    32: "7c3956ca5eeafc3e363e9d556546eb68",
    62: "5853542321f567a005d547a4f04759bd",
    63: "5150d1772f50834a503e069a973fbd7c",
}


def siphash(key: bytes, data: bytes) -> bytes:
    tag = ffi.new("uint8_t[16]")
    lib.dsmproc_frame_tag(key, int.from_bytes(data[:8], "little"), data[8:], len(data) - 8, tag)
    return bytes(ffi.buffer(tag))


@pytest.mark.parametrize("length", VECTORS)
def test_published_vectors(length: int) -> None:
    assert siphash(KEY, bytes(range(length))).hex() == VECTORS[length]


def openssl_knows_it() -> bool:
    command = ["openssl", "mac", "-macopt", "hexkey:" + "00" * 16, "-in", "/dev/null", "SIPHASH"]
    return (
        shutil.which("openssl") is not None
        and not subprocess.run(command, capture_output=True, check=False).returncode
    )


@pytest.mark.skipif(not openssl_knows_it(), reason="needs openssl 3")
@pytest.mark.parametrize("length", [8, 4096 + 31, 100_003])
def test_another_implementation_agrees(length: int) -> None:
    key, data = os.urandom(16), os.urandom(length)
    command = ["openssl", "mac", "-macopt", f"hexkey:{key.hex()}", "-macopt", "size:16"]
    done = subprocess.run([*command, "-in", "-", "SIPHASH"], input=data, capture_output=True)
    assert siphash(key, data).hex() == done.stdout.decode().strip().lower()


def test_the_tag_of_a_control_frame_is_keyed_blake2b_of_number_and_bytes() -> None:
    one = Seal(b"k" * 32)
    for number in range(3):
        right = hashlib.blake2b(number.to_bytes(8, "little"), key=b"k" * 32, digest_size=16)
        right.update(b"headbody")
        assert one.tag(b"head", b"body") == right.digest()


def both() -> tuple[Seals, Seals]:
    return Seals(b"k" * 32, b"t", client=True), Seals(b"k" * 32, b"t", client=False)


def test_what_is_changed_repeated_dropped_or_reflected_is_noticed() -> None:
    client, server = both()
    first, second = client.sending.tag(b"one"), client.sending.tag(b"two")
    assert server.receiving.fits(first, b"one")
    for tag, frame in ((first, b"One"), (first, b"on"), (second, b"two"), (b"", b"one")):
        with pytest.raises(ForgedFrameError):
            server.receiving.check(tag, frame)
    with pytest.raises(ForgedFrameError):
        client.receiving.check(first, b"one")  # sent back to who made it
    server.receiving.check(first, b"one")
    with pytest.raises(ForgedFrameError, match="not made with the cluster's key"):
        server.receiving.check(first, b"one")
    server.receiving.check(second, b"two")


def test_wires_with_tags() -> None:
    ends = socket.socketpair()
    one, two = (wire.Wire(sock, seals) for sock, seals in zip(ends, both(), strict=True))
    with one, two:
        one.send({"a": 1})
        big = os.urandom(1 << 20)
        sender = threading.Thread(target=one.send_bytes, args=(b"head", memoryview(big)))
        sender.start()
        assert two.recv() == {"a": 1}
        assert two.recv_bytes() == b"head" + big
        sender.join()
        two.send("back")
        assert one.recv() == "back"
        wire.send_frame(one.sock, b"with a tag of nobody")
        one.sock.sendall(bytes(seal.TAG_BYTES))
        with pytest.raises(ForgedFrameError):
            two.recv()


def test_the_error_is_a_lost_connection_and_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(ForgedFrameError()))
    assert isinstance(error, ConnectionError) and isinstance(error, wire.AuthenticationError)
    assert "not made with the cluster's key" in str(error)
