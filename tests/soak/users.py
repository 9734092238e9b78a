"""To run a command as an ordinary user, uid 65534, who can read the Python that runs this.

    python -m tests.soak.users COMMAND ...    as that user; who is not root is one already

Where a folder above the Python, its environment or this repository is closed to that user, the
command gets a mount namespace of its own, in which an open folder stands in its place and has
nothing in it but what is needed. Nothing changes for anybody else.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import dsmproc

UID = 65534
BECOME = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--"]
OWN_MOUNTS = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-ec"]
# The closed folder, what is needed in it, `--`, the command. Descriptors from 3 on hold what is
# needed while the open folder is put over it.
OPEN_UP = """
closed=$1 last=2; shift
for path; do
    [ "$path" != -- ] || break
    last=$((last + 1))
    eval "exec $last<\\$path"
done
mount -t tmpfs -o mode=755,size=1M soak "$closed"
for held in $(seq 3 $last); do
    mkdir -p "$1"
    mount --no-canonicalize --bind "/proc/self/fd/$held" "$1"
    eval "exec $held<&-"
    shift
done
shift
exec "$@"
"""


def needed() -> list[str]:
    package = Path(dsmproc.__file__).resolve().parents[1]
    here = Path(__file__).resolve().parents[2]
    found = (Path(sys.base_prefix).resolve(), Path(sys.prefix).absolute(), package, here)
    return sorted({str(path) for path in found})


def closed_folder(path: str) -> str | None:
    """The uppermost folder on the way to `path`, or at its end, that others may not enter."""
    for folder in [*reversed(Path(path).parents), Path(path)]:
        if not folder.stat().st_mode & 0o001:
            return str(folder)
    return None


def command() -> list[str]:
    """What to put before a command."""
    words, closed = list(BECOME), defaultdict(list)
    for path in needed():
        closed[closed_folder(path)].append(path)
    for folder, paths in closed.items():
        if folder is not None:
            words = [*OWN_MOUNTS, OPEN_UP, "sh", folder, *paths, "--", *words]
    return words


@functools.cache
def why_not() -> str | None:
    """Why nothing can run as that user here; None if it can."""
    if os.geteuid() != 0:
        return f"only root may become uid {UID}"
    for program in ("setpriv", "unshare"):
        if shutil.which(program) is None:
            return f"there is no {program} here"
    done = subprocess.run(
        [*command(), sys.executable, "-c", "import numpy, dsmproc._memory.client"],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return None
    return f"uid {UID} cannot run this Python: {(done.stderr.strip() or '?').splitlines()[-1]}"


def main() -> None:
    words = sys.argv[1:]
    if os.geteuid() == 0:
        if why := why_not():
            sys.exit(why)
        os.environ.update(HOME="/nonexistent", PYTHONDONTWRITEBYTECODE="1")
        words = [*command(), *words]
    os.execvp(words[0], words)


if __name__ == "__main__":
    main()
