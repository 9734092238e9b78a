"""What a page fault costs by each mechanism: the same reads under one that is named, and uffd."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

from ._floors import Figure, Sample

READS = 400
SCRIPT = """
import random, sys, time
from dsmproc.bench._floors import PAGE
from dsmproc.bench._hosts import remote_memory
reads = int(sys.argv[1])
order = random.Random(1).sample(range(reads), reads)  # no row of faults
with remote_memory(reads * 16 * PAGE) as shm:
    started = time.perf_counter()
    for page in order:
        shm.buf[page * 16 * PAGE]
    print((time.perf_counter() - started) / reads * 1e6)
"""


def against_uffd(
    mechanism: str, text: str, hosts: int, word: object
) -> Callable[[int], Iterator[Sample]]:
    """What a script prints on so many hosts, by one mechanism and by the kernel's full one."""

    def samples(rounds: int) -> Iterator[Sample]:
        with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
            script.write(text)
            script.flush()
            command = [sys.executable, "-m", "dsmproc", "run", "--local", str(hosts)]
            for _ in range(rounds):
                times = []
                for name in (mechanism, "uffd"):
                    done = subprocess.run(
                        [*command, script.name, str(word)],
                        env={**os.environ, "DSMPROC_FAULTS": name},
                        stdout=subprocess.PIPE,
                        check=True,
                    )
                    times.append(float(done.stdout))
                yield times[0], times[1]

    return samples


FIGURES = {
    f"fault-{name}": Figure(
        f"one page read that is at home elsewhere, us, by {name}; peer: by uffd",
        against_uffd(name, SCRIPT, 2, READS),
    )
    for name in ("uffd-user", "segv")
}
