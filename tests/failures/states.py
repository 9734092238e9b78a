"""A program whose processes stand in every state of the failure matrix; host 1 is the one to fail.

Each waiter says `at NAME PID TID` just before it waits and `saw NAME WHEN WHAT` after it. What
needs host 1 to be silent already (a page fault, a publish) begins when the file is there that the
first argument names.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import dsmproc as mp

PAGE = 4096
FOREVER = 600
LATER = "what comes later"


def say(*words: object) -> None:
    os.write(1, (" ".join(str(word).replace("\n", " ") for word in words) + "\n").encode())


def at(name: str) -> None:
    say("at", name, os.getpid(), threading.get_native_id())


def wait(name: str, operation: Callable[[], Any]) -> None:
    at(name)
    try:
        answer = operation()
        seen = "returned" if answer is None else f"returned {answer}"
    except BaseException as error:
        seen = f"{type(error).__name__}: {error}"
    say("saw", name, f"{time.monotonic():.3f}", seen)


def idle() -> None:
    at("victim-idle")
    time.sleep(FOREVER)


def own(box: Any, again: Any) -> None:
    """Pages and a queue that are at home on host 1."""
    memory = mp.SharedMemory("failing", create=True, size=4 * PAGE)
    memory.buf[:] = b"x" * memory.size
    queue = mp.Queue()
    start(2, fetch, queue)
    box.put("ready")
    again.get()
    memory.buf[:] = b"y" * memory.size
    box.put("again")
    at("owner")
    time.sleep(FOREVER)


def fetch(queue: Any) -> None:
    """On host 2, from a queue that is at home on host 1."""
    wait("queue", queue.get)


def hold(lock: Any, box: Any) -> None:
    with lock:
        box.put("held")
        at("victim-lock")
        time.sleep(FOREVER)


def take_part(barrier: Any) -> None:
    at("victim-barrier")
    barrier.wait()


def get(queue: Any) -> None:
    at("victim-queue")
    queue.get()


def put(queue: Any) -> None:
    queue.put("first")
    at("victim-put")
    time.sleep(FOREVER)


def get_put(queue: Any) -> None:
    """From a queue of the driver's host, into which only host 1 has put something."""
    assert queue.get() == "first"
    wait("put", queue.get)


def send(end: Any) -> None:
    end.send("first")
    at("victim-send")
    time.sleep(FOREVER)


def receive(end: Any) -> None:
    """From a pipe of the driver's host, of which only host 1 has the writing end."""
    assert end.recv() == "first"
    wait("send", end.recv)


def fault(name: str, page: int, go: Any) -> None:
    """A read of a page which only host 1 has any more, whatever was done with it before."""
    memory = mp.SharedMemory("failing")
    if name == "fault-read":
        say("read", memory.buf[page * PAGE])
    elif name == "fault-written":
        memory.buf[page * PAGE] = 1
    go.send("had")
    go.recv()
    say("ready", name)
    go.recv()
    at(f"victim-{name}")
    say("read", memory.buf[page * PAGE])


def publish(go: Any, lock: Any) -> None:
    memory = mp.SharedMemory("failing")
    memory.buf[PAGE] = 1  # its copy is here now
    say("ready", "publish")
    go.recv()
    memory.buf[PAGE] = 2
    at("victim-publish")
    try:
        mp.Queue().put(None)
        go.send(None)  # leaves the host: publishes first
    except OSError as error:
        say("publish", type(error).__name__, error)
        raise


def task(number: int) -> int:
    if mp.current_host() == 1:
        at("victim-pool")
        time.sleep(FOREVER)
    return number


def start(host: int, function: Callable[..., None], *arguments: Any) -> Any:
    process = mp.Process(target=function, args=arguments)
    process._dsmproc_host = host
    process.start()
    return process


def ended(*processes: Any) -> str:
    for process in processes:
        process.join()
    return f"exitcode {' '.join(sorted({str(process.exitcode) for process in processes}))}"


def begin(name: str, operation: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=wait, args=(name, operation), daemon=True)
    thread.start()
    return thread


def main() -> None:
    box, lock, barrier, kept = mp.Queue(), mp.Lock(), mp.Barrier(3), mp.Queue()
    pool = mp.Pool(3)  # first: one worker on each host
    again = mp.Queue()
    sleeper, _ = start(1, idle), start(1, own, box, again)
    box.get()
    locker, party = start(1, hold, lock, box), start(1, take_part, barrier)
    box.get()
    getter = start(1, get, kept)
    filled, (reader, writer) = mp.Queue(), mp.Pipe(duplex=False)
    start(1, put, filled), start(1, send, writer)
    readers = [start(2, get_put, filled), start(2, receive, reader)]
    reader.close(), writer.close()
    faulting, ways = [], []
    for page, name in ((0, "fault"), (2, "fault-read"), (3, "fault-written")):
        way, end = mp.Pipe()
        faulting.append(start(2, fault, name, page, end))
        ways.append(way)
        way.recv()
    again.put(None)
    box.get()
    for way in ways:
        way.send(None)
    two, two_end = mp.Pipe()
    publishing = start(2, publish, two_end, lock)
    waiters = [
        begin("idle", lambda: ended(sleeper)),
        begin("fault", lambda: ended(*faulting)),
        begin("publish", lambda: ended(publishing)),
        begin("locker", lambda: ended(locker)),
        begin("party", lambda: ended(party)),
        begin("getter", lambda: ended(getter)),
        begin("lock", lambda: (lock.acquire(), lock.release())[1]),
        begin("barrier", barrier.wait),
        begin("pool", lambda: pool.map(task, range(6), 1)),
    ]
    say("set up", mp.hosts())
    wait_for_file(sys.argv[1])
    for way in (*ways, two):
        way.send(None)
    for waiter in waiters:
        waiter.join(float(os.environ["DSMTEST_MATRIX_PATIENCE"]))
    filled.put(LATER)  # for who waits on
    for process in readers:
        process.join(20)
    pool.terminate()
    child = start(2, at, "goes-on")
    child.join(20)
    say("survivors", mp.hosts(), child.exitcode)
    sys.stdout.flush()
    os._exit(0)


def wait_for_file(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.02)


if __name__ == "__main__":
    main()
