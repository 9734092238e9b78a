"""Whoever touches a page that was lost ends by SIGBUS, with a line: the driver and its children."""

from __future__ import annotations

import signal

import pytest
from helpers import RunScript, commands_of, send

PROGRAM = """
import faulthandler, mmap, os, time
import dsmproc as mp

faulthandler.disable()
PAGE = mmap.PAGESIZE
NEVER, READ, WRITTEN = (page * PAGE for page in range(3))  # what was done with it here

def own(name, box, again):
    memory = mp.SharedMemory(name)
    memory.buf[:] = b"x" * memory.size
    box.put("made")
    again.get()
    memory.buf[:] = b"y" * memory.size
    box.put("made again")
    time.sleep(300)

def touch(memory, at):
    memory.buf[at]

def change(memory, at):
    memory.buf[at] = 7

if __name__ == "__main__":
    memory = mp.SharedMemory(create=True, size=3 * PAGE)
    box, again = mp.Queue(), mp.Queue()
    owner = mp.Process(target=own, args=(memory.name, box, again))
    owner._dsmproc_host = 1
    owner.start()
    box.get()
    touch(memory, READ)
    change(memory, WRITTEN)
    again.put(None)
    box.get()
    print("ready", flush=True)
    try:
        owner.join()
    except mp.HostLostError:
        pass
    for how in touch, change:
        for at in NEVER, READ, WRITTEN:
            pid = os.fork()
            if pid == 0:
                how(memory, at)
                os._exit(0)
            print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    near = mp.get_context("fork").Process(target=touch, args=(memory, READ))
    near._dsmproc_host = 0
    near.start()
    near.join()
    print("child", near.exitcode, flush=True)
    touch(memory, READ)
"""


@pytest.mark.parametrize("mechanism", ["uffd", "uffd-user", "segv"])
def test_a_lost_page_ends_the_driver_and_its_children(
    run_script: RunScript, mechanism: str
) -> None:
    running = run_script.start(PROGRAM, local=2, env={"DSMPROC_FAULTS": mechanism})
    running.read_until("ready")
    send(commands_of(running.pid)["agent1"])
    result = running.wait()
    assert result.code == -signal.SIGBUS, result
    assert result.out.count("child -7\n") == 7, result
    for page in range(3):
        assert f"touched region 1, page {page}, whose only copy was on host 1" in result.err
