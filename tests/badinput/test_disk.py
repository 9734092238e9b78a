"""A full disk: no data is kept on one, so programs run; what needs a file says what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = """
import numpy
import dsmproc as mp

def total(array):
    return int(array.sum())

def fill(queue):
    memory = mp.SharedMemory(create=True, size=1 << 20)
    memory.buf[:] = b"x" * (1 << 20)
    queue.put(memory)

if __name__ == "__main__":
    queue = mp.Queue()
    process = mp.Process(target=fill, args=(queue,))
    process._dsmproc_host = 1
    process.start()
    memory = queue.get()
    print(bytes(memory.buf[-3:]))
    process.join()
    with mp.Pool(2) as pool:
        print(pool.map(total, [numpy.ones(1 << 19)] * 2))
"""


@pytest.fixture
def disk() -> Iterator[str]:
    """Where it is mounted, in a namespace of its own. (With a long name it would not be used.)"""
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"netns: {done.stderr.strip()}")
    folder = tempfile.mkdtemp(dir="/tmp")
    yield folder
    os.rmdir(folder)


def on_disk(disk: str, script: Path, options: str, before: str) -> subprocess.CompletedProcess[str]:
    """The script, with its temporary files on a file system with these options."""
    script.write_text(SCRIPT)
    mount = f"mount -t tmpfs -o {options} tmpfs {disk} && cd {disk} && {{ {before}; }} 2>/dev/null"
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{mount}; exec "$@"', "sh"]
        + [sys.executable, "-m", "dsmproc", "run", "--local", "2", str(script)],
        env={**os.environ, "TMPDIR": str(disk)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_program_runs_where_the_disk_is_full(disk: str, tmp_path: Path) -> None:
    ran = on_disk(disk, tmp_path / "script.py", "size=64k", "dd if=/dev/zero of=full bs=4k")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["b'xxx'", "[524288, 524288]"]


@pytest.mark.parametrize("files", [3, 4, 5, 6])
def test_a_disk_that_takes_no_more_files_is_named(disk: str, tmp_path: Path, files: int) -> None:
    ran = on_disk(disk, tmp_path / "script.py", f"nr_inodes={files}", "true")
    assert ran.returncode == 1
    assert f"No space left on device: '{disk}/" in ran.stderr
    # Two agents may say it at once, and their lines meet.
    assert "Traceback" not in ran.stderr and len(ran.stderr.splitlines()) <= 4, ran.stderr
