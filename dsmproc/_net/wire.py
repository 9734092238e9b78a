"""Connections between the cluster's processes: frames, and who may speak.

A frame is a 64-bit little-endian length and that many bytes. A TCP connection begins with a mutual
challenge on the cluster's key, in frames of at most HANDSHAKE_LIMIT bytes:

    client -> server   H: magic, protocol, versions, purpose, nonce
    server -> client   H: magic, protocol, versions, "",      nonce
    client -> server   P: HMAC-SHA256(key, "client" + both hellos)
    server -> client   P: HMAC-SHA256(key, "server" + both hellos)

The versions are Python's and dsmproc's, the first two numbers of each: they must be equal.
The server may answer E and a sentence instead. Not a byte is unpickled before both proofs were
checked. Over a unix socket both sides ask the kernel for the other's user, who must be their own:
it has the two hellos and no proofs.

The state machines are generators (`client_side`, `server_side`): they yield a frame to send and
are sent the frame that came, so the blocking driver here and the asynchronous one in listener.py
share them. What follows the handshake is pickled objects, one per frame. Over TCP each has a tag
behind it (seal.py).

This module must stay light: every client imports it.
"""

from __future__ import annotations

import errno
import hmac
import os
import pickle
import socket
import struct
import sys
import threading
from collections.abc import Container, Generator
from typing import Any

from .._os.handlers import raised_by_handler
from .._version import VERSION
from ..errors import AuthenticationError, ClusterError, ProtocolError
from . import frames
from .seal import TAG_BYTES, ForgedFrameError, Seals
from .sockets import peer_uid, tune

MAGIC = b"DSMP"
PROTOCOL = 3
HANDSHAKE_LIMIT = 1024
HANDSHAKE_SECONDS = 10.0
FRAME_LIMIT = 1 << 40
NONCE_BYTES = 32
OF_THE_MASTER = ("console", "control", "query")  # purposes that only a master serves
HOST_MARK = "@"  # between a purpose and the number of the host that connects
KEY_FILE_LIMIT = 4096

_LENGTH = struct.Struct("<Q")
_FORMAT = frames.Format(_LENGTH, FRAME_LIMIT)
_BEGIN = struct.Struct("<4sH")  # of every hello, whatever its protocol
_HELLO = struct.Struct("<4sHBBBBB32s")

ClientSteps = Generator[bytes, bytes, Seals | None]
ServerSteps = Generator[bytes, bytes, tuple[str, bytes, Seals | None]]


# -- the handshake, without I/O ---------------------------------------------------------------


def versions() -> dict[str, tuple[int, int]]:
    """The versions that must be equal on all hosts of a cluster."""
    major, minor = VERSION.split(".")[:2]
    return {
        "Python": (sys.version_info.major, sys.version_info.minor),
        "dsmproc": (int(major), int(minor)),
    }


def hello(purpose: str) -> bytes:
    name = purpose.encode("ascii")
    numbers = [number for pair in versions().values() for number in pair]
    nonce = os.urandom(NONCE_BYTES)
    return b"H" + _HELLO.pack(MAGIC, PROTOCOL, *numbers, len(name), nonce) + name


def read_hello(frame: bytes, peer: str) -> str:
    """The purpose in a hello; one clear sentence if we cannot talk. `peer` says whose it is."""
    nonsense = ProtocolError(f"the {peer} side does not speak dsmproc's protocol")
    if frame[:1] != b"H" or len(frame) < 1 + _BEGIN.size:
        raise nonsense
    magic, protocol = _BEGIN.unpack_from(frame, 1)
    if magic != MAGIC:
        raise nonsense
    if protocol != PROTOCOL:
        raise ProtocolError(
            f"the {peer} side speaks protocol {protocol}, the other side protocol {PROTOCOL}: "
            "a cluster needs one version of dsmproc on all its hosts"
        )
    if len(frame) < 1 + _HELLO.size:
        raise nonsense
    *numbers, length, _ = _HELLO.unpack_from(frame, 1)[2:]
    name = frame[1 + _HELLO.size :]
    if len(name) != length or not name.isascii():
        raise nonsense
    theirs = zip(numbers[::2], numbers[1::2], strict=True)
    for (what, mine), other in zip(versions().items(), theirs, strict=True):
        if other != mine:
            raise ProtocolError(
                f"the {peer} side runs {what} {other[0]}.{other[1]}, the other side {what} "
                f"{mine[0]}.{mine[1]}: a cluster needs one minor version on all its hosts"
            )
    return name.decode("ascii")


def printable(text: str) -> str:
    """A stranger's words as one line that does nothing to a terminal."""
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return "".join(escaped)


def _welcome(frame: bytes) -> bytes:
    """The server's frame, unless it refuses us. Until its proof it may be anybody."""
    if frame[:1] != b"E":
        return frame
    text = printable(frame[2:].decode("utf-8", "replace"))
    if frame[1:2] == b"F":
        raise OSError(errno.EMFILE, text)
    if frame[1:2] == b"A":
        raise AuthenticationError(text)
    raise ProtocolError(text)


def refuse(error: Exception) -> bytes:
    """The frame that tells the peer why it is turned away."""
    kind, text = b"A" if isinstance(error, AuthenticationError) else b"P", str(error)
    if isinstance(error, OSError):  # no more descriptors
        kind, text = b"F", error.strerror or str(error)
    return b"E" + kind + text.encode("utf-8")[: HANDSHAKE_LIMIT - 2]


def _proof(key: bytes, role: bytes, first: bytes, second: bytes) -> bytes:
    return b"P" + hmac.digest(key, b"dsmproc " + role + first + second, "sha256")


def _check_proof(frame: bytes, expected: bytes) -> None:
    if not hmac.compare_digest(frame, expected):
        raise AuthenticationError("the two sides do not have the same cluster key")


def client_side(purpose: str, key: bytes | None) -> ClientSteps:
    """Yields frames to send, is sent the answer to each."""
    mine = hello(purpose)
    theirs = _welcome((yield mine))
    read_hello(theirs, "listening")
    if key is None:
        return None
    answer = _welcome((yield _proof(key, b"client", mine, theirs)))
    _check_proof(answer, _proof(key, b"server", mine, theirs))
    return Seals(key, mine + theirs, client=True)


def server_side(key: bytes | None, purposes: Container[str]) -> ServerSteps:
    """Yields b"" first (it only listens); its value is the purpose, the last frame to send, and
    the seals of the frames behind that."""
    theirs = yield b""
    purpose = read_hello(theirs, "connecting")
    name = purpose.partition(HOST_MARK)[0]
    last = mine = hello("")
    if key is not None:
        answer = yield mine
        _check_proof(answer, _proof(key, b"client", theirs, mine))
        last = _proof(key, b"server", theirs, mine)
    if name not in purposes:
        raise ProtocolError(f"the listening side serves no connections for {name!r}")
    seals = None if key is None else Seals(key, theirs + mine, client=False)
    return purpose, last, seals


# -- blocking connections ---------------------------------------------------------------------


class Wire:
    """A blocking connection after its handshake. Several threads may send; one receives."""

    def __init__(self, sock: socket.socket, seals: Seals | None = None) -> None:
        self.sock = sock
        self.seals = seals
        self._sending = threading.Lock()
        self._parts: list[bytes] = []  # of the last message

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, message: Any) -> None:
        self.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    def send_bytes(self, *parts: bytes | memoryview) -> None:
        """Send one frame made of the parts."""
        with self._sending:
            send_frame(self.sock, *parts, seals=self.seals)

    def recv(self) -> Any:
        return load(self.recv_bytes())

    def recv_bytes(self) -> bytearray:
        return recv_frame(self.sock, FRAME_LIMIT, self.seals)

    def recv_last(self) -> Any:
        """The last message that comes. Who is interrupted in this may call it again."""
        header = self._kept(0, HEADER_BYTES)
        body = self._kept(HEADER_BYTES, _FORMAT.length(_LENGTH.unpack(header)))
        if self.seals is not None:
            tag = self._kept(HEADER_BYTES + len(body), TAG_BYTES)
            if not self.seals.receiving.fits(tag, header, body):
                raise ForgedFrameError
        return load(body)

    @property
    def begun(self) -> bool:
        """Whether something of the last message was read."""
        return bool(self._parts)

    def _kept(self, start: int, count: int) -> bytes:
        """Bytes of the last message. What receives a part in C keeps it there, too."""
        while (missing := start + count - sum(map(len, self._parts))) > 0:
            self._parts.extend(map(self.sock.recv, (missing,)))
            if not self._parts[-1]:
                raise EOFError("the connection was closed")
        return b"".join(self._parts)[start : start + count]

    def request(self, message: Any) -> Any:
        """Send, and wait for the answer: for connections that do one thing at a time."""
        self.send(message)
        return self.recv()

    def detach(self) -> int:
        """Give the descriptor away: nothing of what follows the last frame was read."""
        return self.sock.detach()

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(frame: bytes | bytearray) -> Any:
    """The object in a frame; ProtocolError if it holds none."""
    try:
        return pickle.loads(frame)
    except Exception as error:
        if raised_by_handler(error):
            raise
        what = f"{type(error).__name__}: {error}"
        raise ProtocolError(f"a frame of {len(frame)} bytes holds no message ({what})") from None


def send_frame(sock: socket.socket, *parts: bytes | memoryview, seals: Seals | None = None) -> None:
    views = [memoryview(part).cast("B") for part in parts]
    for piece in frames.pieces(seals, frame_header(sum(map(len, views))), *views):
        sock.sendall(piece)


def recv_frame(sock: socket.socket, limit: int, seals: Seals | None = None) -> bytearray:
    """One frame; EOFError if the peer closed, ProtocolError if it is longer than the limit."""
    return frames.receive(message(limit, seals), sock.recv_into)[1]


def message(limit: int = FRAME_LIMIT, seals: Seals | None = None) -> frames.Reader:
    """A frame that is to be read."""
    return frames.Reader(_FORMAT if limit == FRAME_LIMIT else frames.Format(_LENGTH, limit), seals)


def handshake(peer: str) -> frames.Reader:
    """A frame of a handshake; what a stranger says first is any bytes."""
    nonsense = f"the {peer} side does not speak dsmproc's protocol"
    return frames.Reader(frames.Format(_LENGTH, HANDSHAKE_LIMIT, nonsense))


def frame_header(length: int) -> bytes:
    return _LENGTH.pack(length)


HEADER_BYTES = _LENGTH.size


class UnreachableError(ClusterError, ConnectionError):
    """Nobody is at an address who speaks as we do."""

    def __str__(self) -> str:
        return str(self.args[0])


def connect_tcp(
    address: tuple[str, int], purpose: str, key: bytes, host: int | None = None
) -> Wire:
    """An authenticated connection to the listener at `address`, for `purpose`, from a process of
    the host `host`, if it belongs to one."""
    if host is not None:
        purpose += f"{HOST_MARK}{host}"
    where = format_address(address)
    try:
        sock = socket.create_connection(address, HANDSHAKE_SECONDS)
    except OSError as error:
        if error.errno == errno.EMFILE:
            raise
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror or error
        if isinstance(error, ConnectionRefusedError) and purpose in OF_THE_MASTER:
            why = f"{why} (is `dsmproc head` running there?)"
        raise UnreachableError(f"nobody can be reached at {where}: {why}") from None
    try:
        tune(sock)
        return _introduce(sock, client_side(purpose, key))
    except TimeoutError:
        why = f"says nothing for {HANDSHAKE_SECONDS:g} s: is it a dsmproc cluster?"
    except EOFError:
        why = "closed the connection: is it a dsmproc cluster, and is it running?"
    except OSError as error:
        if error.errno == errno.EMFILE:
            sock.close()
            raise OSError(error.errno, f"{error.strerror} (at {where})") from None
        why = f"broke the connection: {error.strerror or error}"
    except (AuthenticationError, ProtocolError) as error:
        sock.close()
        raise type(error)(f"{error} (at {where})") from None
    except BaseException:
        sock.close()
        raise
    sock.close()
    raise UnreachableError(f"whoever is at {where} {why}")


def query(master: tuple[str, int], key: bytes, question: str, about: Any = None) -> Any:
    """Ask the master one question, which it answers at once."""
    with connect_tcp(master, "query", key) as wired:
        wired.sock.settimeout(HANDSHAKE_SECONDS)
        try:
            return wired.request((question, about))
        except TimeoutError:
            why = f"says nothing for {HANDSHAKE_SECONDS:g} s"
        except EOFError:
            why = "closed the connection"
        except ForgedFrameError:
            why = "says what was not made with the cluster's key"
    raise UnreachableError(f"whoever is at {format_address(master)} {why}")


def connect_unix(path: str, purpose: str) -> Wire:
    """A connection to the agent of this host, which runs as our user: when it has gone, another one
    may make a socket at its path."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(HANDSHAKE_SECONDS)
    try:
        sock.connect(path)
        _, uid = peer_uid(sock)
        if uid != os.geteuid():
            raise AuthenticationError(f"user {uid} is at {path}, where an agent of ours was")
        return _introduce(sock, client_side(purpose, None))
    except BaseException:
        sock.close()
        raise


def _introduce(sock: socket.socket, steps: ClientSteps) -> Wire:
    """The handshake; the socket is still the caller's if it fails."""
    frame = next(steps)
    try:
        while True:
            send_frame(sock, frame)
            frame = steps.send(bytes(frames.receive(handshake("listening"), sock.recv_into)[1]))
    except StopIteration as done:
        sock.settimeout(None)
        return Wire(sock, done.value)


# -- addresses and keys -----------------------------------------------------------------------


def parse_address(text: str) -> tuple[str, int]:
    """'tcp://host:port' or 'host:port'."""
    host, _, port = text.removeprefix("tcp://").rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    sound = host and not set(host) & set("/[] ") and bracketed == (":" in host)
    if not sound or not port.isascii() or not port.isdigit():
        raise ValueError(f"an address looks like tcp://HOST:PORT, not {text!r}")
    if int(port) > 65535:
        raise ValueError(f"there is no port {port}, which {text!r} names")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether a numeric address is of this host alone."""
    return host.removeprefix("::ffff:").startswith("127.") or host == "::1"


def format_address(address: tuple[str, int]) -> str:
    host, port = address
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def own_address(other: tuple[str, int]) -> str:
    """Our end of the route to another machine: the address by which that one knows us."""
    info = socket.getaddrinfo(*other, type=socket.SOCK_DGRAM)[0]
    with socket.socket(info[0], info[1]) as probe:
        probe.connect(info[4])  # sends nothing
        return str(probe.getsockname()[0])


def read_key(path: str) -> bytes:
    """The cluster's key from a file that only its owner can read."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            key = file.read(KEY_FILE_LIMIT).strip()
    except OSError as error:
        hint = ""
        if isinstance(error, FileNotFoundError):
            hint = (
                ": `dsmproc head` makes one on the first machine; copy it from there, or say in "
                "DSMPROC_AUTHKEY_FILE where it is"
            )
        raise AuthenticationError(
            f"the cluster's key cannot be read from {path}: {error.strerror}{hint}"
        ) from None
    if status.st_uid not in (0, os.geteuid()):
        raise AuthenticationError(
            f"the key file {path} is user {status.st_uid}'s, who would have the cluster"
        )
    if status.st_mode & 0o077:
        raise AuthenticationError(f"the key file {path} can be read by others: chmod 600 it")
    if len(key) < 32:
        raise AuthenticationError(f"the key file {path} holds no key of 32 characters or more")
    return key


def write_key(path: str) -> bytes:
    """A new key in a new file, for its owner alone."""
    key = os.urandom(32).hex().encode("ascii")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(key + b"\n")
    return key
