"""Any bytes to the decoders of handshake, frames and channels: an error, or what they say."""

from __future__ import annotations

import socket
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dsmproc._channels import frames
from dsmproc._channels.endpoint import Endpoint
from dsmproc._net import wire
from dsmproc._net.seal import ForgedFrameError, Seals
from dsmproc.errors import AuthenticationError, ProtocolError

KEY = b"k" * 32
PURPOSES = {"spawn", "query"}
bounded = settings(max_examples=300, deadline=None, derandomize=True, database=None)
REFUSED = (ProtocolError, AuthenticationError)

hellos = st.builds(
    lambda hello, at, byte, tail: (
        hello[: at % len(hello)] + byte + hello[at % len(hello) + 1 :] + tail
    ),
    st.builds(lambda p: wire.hello(p), st.sampled_from(["spawn", "query", "", "x" * 255])),
    st.integers(0, 1000),
    st.binary(max_size=2),
    st.binary(max_size=3),
)
refusals = st.builds(
    lambda kind, text: b"E" + kind + text.encode("utf-8", "surrogatepass"),
    st.sampled_from([b"A", b"P", b"F", b"x", b""]),
    st.text(st.characters(), max_size=200),
)
strange = st.one_of(st.binary(max_size=wire.HANDSHAKE_LIMIT), hellos, refusals)


@bounded
@given(strange)
def test_a_hello_is_read_or_refused(frame: bytes) -> None:
    try:
        purpose = wire.read_hello(frame, "connecting")
    except REFUSED as error:
        assert str(error).isprintable()
    else:
        assert purpose.isascii()


@bounded
@given(st.lists(strange, min_size=1, max_size=3), st.booleans())
def test_no_side_accepts_who_does_not_have_the_key(said: list[bytes], listening: bool) -> None:
    steps: Any = wire.server_side(KEY, PURPOSES) if listening else wire.client_side("spawn", KEY)
    next(steps)
    try:
        for frame in said:
            steps.send(frame)
    except (*REFUSED, OSError) as error:
        assert str(error).isprintable()
        assert not (listening and isinstance(error, OSError))
    # StopIteration, which is acceptance, would have failed the test


@bounded
@given(st.binary(max_size=400), st.integers(0, 300), st.integers(1, 50), st.booleans())
def test_frames_of_any_bytes(data: bytes, limit: int, chunk: int, tags: bool) -> None:
    seals = Seals(KEY, b"t", client=True) if tags else None
    one, two = socket.socketpair()
    with one, two:
        for at in range(0, len(data), chunk):
            one.sendall(data[at : at + chunk])
        one.shutdown(socket.SHUT_WR)
        rest = data
        try:
            while True:
                body = wire.recv_frame(two, limit, seals)
                assert not tags  # nobody guesses one
                assert rest[:8] == struct.pack("<Q", len(body)) and len(body) <= limit
                assert rest[8 : 8 + len(body)] == body
                rest = rest[8 + len(body) :]
        except EOFError:
            assert len(rest) < 8 or len(rest) < 24 + struct.unpack("<Q", rest[:8])[0]
        except ForgedFrameError:
            assert tags
        except ProtocolError:
            assert struct.unpack("<Q", rest[:8])[0] > limit


@bounded
@given(st.binary(max_size=120), st.integers(0, 10))
def test_the_bodies_of_a_channel(body: bytes, count: int) -> None:
    attach, state = frames.unpack_attach, frames.unpack_state
    decoders: list[Any] = [attach, frames.unpack_attached, state, frames.unpack_loss]
    for decode in [*decoders, lambda body: frames.unpack_places(body, count)]:
        try:
            found = decode(body)
        except (struct.error, UnicodeDecodeError):
            continue
        if decode is attach or decode is state:
            assert found.pack() == body
        elif decode is frames.unpack_attached or decode is frames.unpack_loss:
            assert found[0].pack(found[1]) == body
        else:
            assert b"".join(place.pack() for place in found) == body[: count * frames.PLACE.size]


class Heard:
    """In the broker's place: what a link makes of its bytes."""

    def __init__(self) -> None:
        self.frames: list[tuple[Any, ...]] = []

    def hear(self, link: Endpoint, *said: Any) -> None:
        self.frames.append((*said[:-1], bytes(said[-1])))


class Door:
    """In the transport's place."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def feed(link: Endpoint, data: bytes, sizes: list[int]) -> None:
    """As the loop does: into the link's own room, in pieces; the view lives through the call."""
    at, turn = 0, 0
    while at < len(data):
        room = link.get_buffer(-1)
        count = min(len(room), sizes[turn % len(sizes)], len(data) - at)
        room[:count] = data[at : at + count]
        link.buffer_updated(count)
        at, turn = at + count, turn + 1


def new_link(seals: Seals | None) -> tuple[Endpoint, Heard, Door]:
    heard, door = Heard(), Door()
    link = Endpoint(heard.hear, lambda _: None, False, None, seals, None)  # type: ignore[arg-type]
    link._transport = door
    return link, heard, door


number = st.integers(0, (1 << 32) - 1)
messages = st.lists(
    st.tuples(
        st.integers(0, 255),
        st.integers(0, 255),
        st.integers(0, 65535),
        number,
        number,
        st.one_of(st.binary(max_size=60), st.integers(1, 40_000).map(lambda n: b"x" * n)),
    ),
    max_size=6,
)


@bounded
@given(messages, st.lists(st.integers(1, 30_000), min_size=1, max_size=5), st.booleans())
def test_a_link_hears_what_was_said_however_it_is_cut(
    said: list[tuple[Any, ...]], sizes: list[int], tags: bool
) -> None:
    client = Seals(KEY, b"t", client=True)
    link, heard, door = new_link(Seals(KEY, b"t", client=False) if tags else None)
    data = b""
    for kind, flags, tickets, count, stamp, body in said:
        frame = frames.frame(kind, count, body, flags=flags, stamp=stamp, tickets=tickets)
        data += frame + (client.sending.tag(frame) if tags else b"")
    feed(link, data, sizes)
    assert heard.frames == said and not door.aborted


@bounded
@given(st.binary(max_size=300), st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_a_link_with_tags_hears_no_stranger(data: bytes, sizes: list[int]) -> None:
    link, heard, _ = new_link(Seals(KEY, b"t", client=False))
    feed(link, data, sizes)
    assert heard.frames == []
