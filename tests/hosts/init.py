"""Process 1 of a host that shares nothing: hides the machine's folders, then waits for the end.

Started by `unshare` in network, pid, mount, uts and ipc namespaces of its own. Everything that the
tests might have in common through the file system lies under empty tmpfs mounts; what a machine
with dsmproc installed has (the interpreter, its packages) is bound back. Its standard input is the
lifeline: when the test process ends, however it does, so does this, and the kernel takes all
processes, mounts and links of the host down with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys

MS_BIND = 4096


def main() -> None:
    plan = json.loads(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str, target: str, kind: str, flags: int) -> None:
        if libc.mount(source.encode(), target.encode(), kind.encode(), flags, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)

    kept = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in plan["keep"]}
    for path in plan["hide"]:
        os.makedirs(path, exist_ok=True)
        mount("none", path, "tmpfs", 0)
    for path, fd in kept.items():
        os.makedirs(path, exist_ok=True)
        mount(f"/proc/self/fd/{fd}", path, "", MS_BIND)
        os.close(fd)
    for path in plan["make"]:
        os.makedirs(path, exist_ok=True)
    os.chmod("/tmp", 0o1777)
    socket.sethostname(plan["name"])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that orphans are reaped
    os.chdir("/")
    print("ready", flush=True)
    os.execvp("cat", ["cat"])


main()
