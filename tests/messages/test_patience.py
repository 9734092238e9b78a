"""Who waits long is not dead: connections notice within ten seconds that a machine has vanished,
and must not take a reader that does not read for one."""

from __future__ import annotations

import time

from helpers import RunScript

LONG = 12.5  # seconds; more than TCP_USER_TIMEOUT (wire.py: tune) and a probe

SCRIPT = f"""
import os, sys, time
import dsmproc as mp

def fill(pipe):
    for i in range(400):
        pipe.send_bytes(b"x" * 100_000)

def talk():
    for _ in range(2000):
        os.write(1, b"x" * 9999 + b"\\n")

reader, writer = mp.Pipe(False)
children = [mp.Process(target=fill, args=(writer,)), mp.Process(target=talk)]
for child in children:
    child._dsmproc_host = 1
    child.start()
writer.close()
time.sleep({LONG})
received = 0
while received < 400:
    assert len(reader.recv_bytes()) == 100_000
    received += 1
for child in children:
    child.join()
print("codes", [child.exitcode for child in children])
"""


def test_a_full_pipe_and_an_unread_terminal(run_script: RunScript) -> None:
    running = run_script.start(SCRIPT, local=2)
    time.sleep(LONG)  # this is what is tested: that so long nothing is read
    done = running.wait().check()
    assert done.lines()[-1] == "codes [0, 0]" and len(done.lines()) == 2001
    assert done.err == ""
