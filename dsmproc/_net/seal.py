"""Frames of TCP connections carry a tag: nobody without the cluster's key can make, change,
repeat, reorder or drop one unnoticed. They are not encrypted.

Both ends of a connection derive keys of its own from the cluster's key and the two hellos, which
hold both nonces, one key for each direction. The tag of a frame is keyed BLAKE2b (RFC 7693) of its
number in its direction and all of its bytes, cut to 16 bytes. The engine's frames have SipHash tags
(sys/siphash.h) with keys that are derived likewise.

Connections over loopback have tags too: a handshake shows that somebody with the key is at the
other end, not that nobody is between, and any user of a machine can listen at a port that an agent
has left, and pass a handshake on.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b

from ..errors import AuthenticationError

TAG_BYTES = 16
ENGINE_KEY_BYTES = 16


class ForgedFrameError(AuthenticationError, ConnectionError):
    """A frame came that the peer did not make, or not now. The connection is of no use any more."""

    def __init__(self) -> None:
        super().__init__("a frame came that was not made with the cluster's key, or not in order")

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), ()


class Seal:
    """The frames of one direction, in their order."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._number = 0

    def _tag(self, parts: tuple[bytes | bytearray | memoryview, ...]) -> bytes:
        digest = blake2b(self._number.to_bytes(8, "little"), key=self._key, digest_size=TAG_BYTES)
        for part in parts:
            digest.update(part)
        return digest.digest()

    def tag(self, *parts: bytes | bytearray | memoryview) -> bytes:
        """Of the next frame that is sent."""
        tag = self._tag(parts)
        self._number += 1
        return tag

    def fits(
        self, tag: bytes | bytearray | memoryview, *parts: bytes | bytearray | memoryview
    ) -> bool:
        """Whether this is the next frame; it stays the next."""
        return hmac.compare_digest(bytes(tag), self._tag(parts))

    def check(
        self, tag: bytes | bytearray | memoryview, *parts: bytes | bytearray | memoryview
    ) -> None:
        """The next frame has come."""
        if not self.fits(tag, *parts):
            raise ForgedFrameError
        self._number += 1


class Seals:
    """Both directions of a connection, and the keys with which engines go on with it."""

    def __init__(self, key: bytes, transcript: bytes, client: bool) -> None:
        def derive(purpose: bytes) -> bytes:
            return hmac.digest(key, b"dsmproc frames " + purpose + transcript, "sha256")

        mine, theirs = (b"client", b"server") if client else (b"server", b"client")
        self.sending = Seal(derive(mine))
        self.receiving = Seal(derive(theirs))
        send_key, receive_key = (
            derive(b"engine " + side)[:ENGINE_KEY_BYTES] for side in (mine, theirs)
        )
        self.engine = send_key, receive_key
