"""What we say on stderr, where others write too."""

from __future__ import annotations

import socket
import subprocess
import sys


def test_a_line_is_one_write() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            say = "from dsmproc._launch.words import say; say('lost'); say('words', 'alpha')"
            subprocess.run([sys.executable, "-c", say], stderr=theirs, check=True, timeout=60)
        assert [ours.recv(99) for _ in range(3)] == [b"dsmproc: lost\n", b"alpha: words\n", b""]
