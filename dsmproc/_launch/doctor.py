"""What this machine offers. Every probe tries the thing itself on a throw-away object."""

from __future__ import annotations

import os
import platform
import sys

from .._net import wire
from .._os import procs
from ..errors import ProcessError

UFFD_USER_MODE_ONLY = 1
SYS_USERFAULTFD = {"x86_64": 323, "aarch64": 282}


def findings() -> list[tuple[str, str]]:
    """(name, what was found) in the order of their importance."""
    return [
        ("dsmproc", _version()),
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        ("kernel", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("cores", str(len(os.sched_getaffinity(0)))),
        ("userfaultfd, full", _try_userfaultfd(0)),
        ("userfaultfd, user mode", _try_userfaultfd(UFFD_USER_MODE_ONLY)),
        ("/dev/userfaultfd", _try_open("/dev/userfaultfd")),
        ("faults by", _try_faults()),
        ("shared memory in", _try_calls()),
        ("pidfd", _try_pidfd()),
        ("ssh", _try_ssh()),
    ]


def try_cluster(address: str | None) -> str:
    """What the master at that address says of itself and of this machine."""
    from .. import _membership

    if not address:
        return "none named (--address, DSMPROC_ADDRESS)"
    try:
        key = wire.read_key(
            os.environ.get("DSMPROC_AUTHKEY_FILE") or _membership.default_key_file()
        )
        master = wire.parse_address(address)
        status = wire.query(master, key, "status")
        mine = wire.query(master, key, "membership", procs.machine_id())
    except (OSError, EOFError, ValueError, ProcessError) as error:
        return f"no answer ({error})"
    here = f"this machine is host {mine['id']}" if mine else "no agent on this machine"
    return f"{status['address']}, {len(status['hosts'])} hosts; {here}"


def _try_ssh() -> str:
    import subprocess

    try:
        done = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"not there ({error.strerror}): only --hosts needs it"
    return done.stderr.strip()


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("dsmproc")
    except metadata.PackageNotFoundError:
        return "not installed"


def _try_faults() -> str:
    """The mechanism that is taken, and why no better one."""
    from .._memory import faults

    try:
        mechanism, why = faults.choose(os.environ.get("DSMPROC_FAULTS"))
    except ProcessError as error:
        return str(error)
    name = faults.NAMES[mechanism]
    return f"{name} ({why})" if why else name


def _try_calls() -> str:
    """What may be given shared memory, and the one command that changes it."""
    from .._memory import faults

    try:
        mechanism, _ = faults.choose(os.environ.get("DSMPROC_FAULTS"))
    except ProcessError:
        return "nothing"
    if faults.NAMES[mechanism] == "uffd":
        return "all system calls"
    remedy = "for all others, as root: sysctl -w vm.unprivileged_userfaultfd=1"
    if mechanism == faults.SEGV:
        remedy += ", and in a container a seccomp profile that allows userfaultfd"
    return f"system calls on files and sockets ({remedy})"


def _try_userfaultfd(flags: int) -> str:
    import ctypes

    number = SYS_USERFAULTFD.get(platform.machine())
    if number is None:
        return "unknown on this machine"
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(number, flags | os.O_CLOEXEC)
    if fd < 0:
        return f"refused ({os.strerror(ctypes.get_errno())})"
    os.close(fd)
    return "works"


def _try_open(path: str) -> str:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"refused ({error.strerror})"
    return "works"


def _try_pidfd() -> str:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return f"refused ({error.strerror}): dsmproc needs Linux 5.3 or newer"
    return "works"
