"""What a system call costs more where shared memory goes through a private buffer (uffd-user): one
that is given none, and one that is. The peer is the same call under full userfaultfd."""

from __future__ import annotations

from ._floors import Figure
from .mechanisms import against_uffd

SCRIPT = """
import os, sys, time
import dsmproc
what, REGIONS, BYTES = sys.argv[1], 100, 64 << 20
memory = [dsmproc.SharedMemory(create=True, size=4096) for _ in range(REGIONS)]
data = b"x"
if what == "shared":
    memory.append(dsmproc.SharedMemory(create=True, size=BYTES))
    data = memory[-1].buf
    data[:] = bytes(BYTES)
count, best = (20_000, 1e9) if what == "private" else (1, 1e9)
file = os.memfd_create("calls")
for _ in range(9):
    started = time.perf_counter()
    for _ in range(count):
        os.pwrite(file, data, 0)
    best = min(best, (time.perf_counter() - started) / count)
print(best * (1e9 if what == "private" else 1e3))
del data
for one in memory:
    one.close()
    one.unlink()
"""


FIGURES = {
    "call-private": Figure(
        "os.pwrite of one private byte, ns, by uffd-user with 100 regions; peer: by uffd",
        against_uffd("uffd-user", SCRIPT, 1, "private"),
        "< 200",
        "-",
    ),
    "call-shared": Figure(
        "os.pwrite of 64 MiB of shared memory that is here, ms, by uffd-user; peer: by uffd",
        against_uffd("uffd-user", SCRIPT, 1, "shared"),
    ),
}
