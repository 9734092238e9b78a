"""What the tags of frames cost: the same scan on a cluster with them and on one without."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from ._floors import MB, Figure, Sample

SCRIPT = """
import sys, time
from dsmproc.bench._floors import PAGE
from dsmproc.bench._hosts import remote_memory
with remote_memory(int(sys.argv[1])) as shm:
    started = time.perf_counter()
    sum(shm.buf[at] for at in range(0, shm.size, PAGE))
    print((time.perf_counter() - started) * 1e6 / (shm.size // PAGE))
"""


def tags(rounds: int) -> Iterator[Sample]:
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(SCRIPT)
        script.flush()
        command = [sys.executable, "-m", "dsmproc", "run", "--local", "2", script.name]
        for _ in range(rounds):
            times = []
            for setting in ("always", "auto"):
                done = subprocess.run(
                    [*command, str(128 * MB)],
                    env={**os.environ, "DSMPROC_FRAME_AUTH": setting},
                    stdout=subprocess.PIPE,
                    check=True,
                )
                times.append(float(done.stdout))
            yield times[0], times[1]


FIGURES = {
    "tags": Figure("first scan of 128 MB with tags, us a page; peer: without them", tags),
}
