"""Memory of hosts that leave or die: it moves, or goes on from another host's copy."""

from __future__ import annotations

import signal

import pytest
from helpers import ByHand, RunScript, commands_of, send

COMMON = """
    import signal, sys, time
    import dsmproc as mp

    PAGES, PAGE = 600, 4096

    def start(host, function, *arguments):
        process = mp.Process(target=function, args=arguments)
        process._dsmproc_host = host
        process.start()
        return process

    def value(page):
        return page % 251 + 1

    def fill(name):
        memory = mp.SharedMemory(name)
        for page in range(PAGES):
            memory.buf[page * PAGE : page * PAGE + 100] = bytes([value(page)]) * 100

    def look(name, queue, pages):
        memory = mp.SharedMemory(name)
        wrong = [p for p in pages if bytes(memory.buf[p * PAGE : p * PAGE + 101])
                 != bytes([value(p)]) * 100 + b"\\0"]
        queue.put((mp.current_host(), wrong))

    def ask(host, name, queue, pages):
        process = start(host, look, name, queue, pages)
        process.join()
        return queue.get(timeout=30) if process.exitcode == 0 else process.exitcode
"""

LEAVES = (
    COMMON
    + """
    def count(name, lock, queue, stop):
        # falsely shared with what is to move, in pages that this host has not read before
        memory = mp.SharedMemory(name)
        rounds = 0
        while not stop.is_set():
            with lock:
                for page in range(0, PAGES, 50):
                    memory.buf[page * PAGE + 200] = (memory.buf[page * PAGE + 200] + 1) % 256
            rounds += 1
            if rounds == 3:
                queue.put("counting")
        queue.put(rounds)

    if __name__ == "__main__":
        memory = mp.SharedMemory(create=True, size=PAGES * PAGE)
        name, queue, lock, stop = memory.name, mp.Queue(), mp.Lock(), mp.Event()
        start(2, fill, name).join()
        print("before", ask(1, name, queue, range(0, PAGES, 2)))  # knows where some of them were
        counters = [start(host, count, name, lock, queue, stop) for host in (1, 3)]
        assert [queue.get(timeout=30) for _ in counters] == ["counting"] * 2
        print("ready=1", flush=True)
        while 2 in mp.hosts():
            time.sleep(0.01)
        stop.set()
        rounds = sum(queue.get(timeout=30) for _ in counters)
        for process in counters:
            process.join()
        print("after", ask(3, name, queue, range(PAGES)), ask(1, name, queue, range(PAGES)))
        with lock:
            print("counted", {memory.buf[page * PAGE + 200] == rounds % 256
                              for page in range(0, PAGES, 50)})
        print("here", [p for p in range(PAGES) if memory.buf[p * PAGE] != value(p)])
        start(3, fill, name).join()  # and they can be written
        print("again", ask(1, name, queue, range(PAGES)))
        memory.close()
        memory.unlink()
"""
)


@pytest.mark.parametrize("home", ["adaptive", "homeless"])
def test_the_pages_of_an_agent_that_leaves_move(
    by_hand: ByHand, run_script: RunScript, home: str
) -> None:
    for _ in range(3):
        by_hand.agent()
    by_hand.wait_for(4)
    running = run_script.start(LEAVES, address=by_hand.address, env={"DSMPROC_HOME": home})
    running.number("ready")
    (pid,) = [host["pid"] for host in by_hand.status()["hosts"] if host["id"] == 2]
    send(pid, signal.SIGTERM)
    lines = running.wait(60).check().lines()
    assert lines[0] == "before (1, [])"
    assert lines[2:] == [
        "after (3, []) (1, [])",
        "counted {True}",
        "here []",
        "again (1, [])",
    ]


DIES = (
    COMMON
    + """
    if __name__ == "__main__":
        memory = mp.SharedMemory(create=True, size=PAGES * PAGE)
        name, queue, lock = memory.name, mp.Queue(), mp.Lock()
        start(2, fill, name).join()
        print("before", ask(1, name, queue, range(PAGES // 2)))
        print("ready=1", flush=True)
        while 2 in mp.hosts():
            time.sleep(0.01)
        print("elsewhere", ask(3, name, queue, range(PAGES // 2)))
        print("here", [p for p in range(PAGES // 2) if memory.buf[p * PAGE] != value(p)])
        lost = ask(3, name, queue, [PAGES - 1])
        print("lost", lost == -signal.SIGBUS or lost == -signal.SIGKILL)
        memory.buf[300] = 7
        print("written", ask(1, name, queue, range(1, PAGES // 2)))
        memory.close()
        memory.unlink()
"""
)


def test_pages_go_on_from_a_copy_when_their_home_dies(run_script: RunScript) -> None:
    running = run_script.start(DIES, local=4)
    running.number("ready")
    send(commands_of(running.pid)["agent2"], signal.SIGKILL)
    lines = running.wait(60).check().lines()
    assert lines[0] == "before (1, [])"
    assert lines[2:] == ["elsewhere (3, [])", "here []", "lost True", "written (1, [])"]
