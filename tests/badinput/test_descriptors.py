"""More open files than the limit allows: one sentence, and what there is goes on."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import contextlib, resource, sys
import dsmproc as mp

def limits(queue):
    queue.put(resource.getrlimit(resource.RLIMIT_NOFILE))

def memory():
    shm = mp.SharedMemory(create=True, size=1)
    shm.buf[0] = 1
    return shm

def queue():
    made = mp.Queue()
    made.put(1)
    return made

if __name__ == "__main__":
    kept = []
    try:
        for _ in range(10_000):
            kept.append({"memory": memory, "queue": queue, "pipe": mp.Pipe}[sys.argv[1]]())
    except OSError as error:
        print(error, flush=True)
    print(len(kept))
    while len(kept) > 9:
        one = kept.pop()
        if sys.argv[1] == "memory":
            one.close()
            one.unlink()
    one = None
    if sys.argv[1] == "memory":
        assert [one.buf[0] for one in kept] == [1] * 9
    elif sys.argv[1] == "queue":
        assert [one.get() for one in kept] == [1] * 9
    answers = None
    while answers is None:  # the agent closes what was dropped in its own time
        with contextlib.suppress(OSError):
            answers = mp.Queue()
    process = mp.Process(target=limits, args=(answers,))
    process._dsmproc_host = 1
    process.start()
    print(answers.get())
    process.join()
"""
TOLD = (
    "has nearly all of the 256 files open that it may: raise `ulimit -Hn` where the cluster is "
    "started"
)


def run(folder: Path, what: str, soft: int, hard: int) -> list[str]:
    script = folder / "many.py"
    script.write_text(SCRIPT)
    limited = f'ulimit -Hn {hard}; ulimit -Sn {soft}; exec "$@"'
    ran = subprocess.run(
        ["sh", "-c", f"ulimit -Sn {soft}; {limited}", "sh", sys.executable, "-m", "dsmproc", "run"]
        + ["--local", "2", str(script), what],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.parametrize(
    ("what", "whose"),
    [
        ("memory", "no more shared memory on host 0: its agent"),
        ("queue", "the agent of host 0"),
        ("pipe", "the agent of host 0"),
    ],
)
def test_an_agent_that_has_no_descriptors_left_says_so(
    tmp_path: Path, what: str, whose: str
) -> None:
    told, made, limits = run(tmp_path, what, 256, 256)
    assert told == f"[Errno 24] {whose} {TOLD}"
    assert int(made) > 30
    assert limits == "(256, 256)"


def test_agents_take_all_that_they_may_and_workers_do_not(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    told, made, limits = run(tmp_path, "queue", 256, hard)
    assert told == "[Errno 24] Too many open files"  # of the driver, as without a cluster
    assert int(made) > 200
    assert limits == str((256, hard))
