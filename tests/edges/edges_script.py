"""One edge of the memory model on four hosts: argv[1] names it.

    host 0  the driver: makes the objects, watches
    host 1  the writer: writes plain memory, then does the release half of the edge
    host 2  the reader: holds a stale copy, does the acquire half, reads plain memory
    host 3  the home of the page: it was the first to publish it

The reader says when it holds its stale copy; nothing but the edge orders the write before the read.
"""

import multiprocessing
import os
import signal
import sys
from multiprocessing import connection

import dsmproc as mp
from dsmproc.connection import Client, Listener

OLD, NEW = 1, 2
WRITER, READER, HOME = 1, 2, 3
WORKERS = 8  # two on each host


def on_host(number, target, *args):
    process = mp.Process(target=target, args=args)
    process._dsmproc_host = number
    process.start()
    return process


def settle_home(name):
    """The first publisher of the page is its home."""
    assert mp.current_host() == HOME
    shm = mp.SharedMemory(name=name, track=False)
    shm.buf[64] = OLD
    shm.close()


class Side:
    """What writer and reader have in common: the page, and how the reader says it is stale."""

    def __init__(self, name, stale):
        self.name, self.stale, self.shm = name, stale, None

    def open(self):
        self.shm = mp.SharedMemory(name=self.name, track=False)
        return self

    def write(self):
        assert mp.current_host() == WRITER, mp.current_host()
        self.shm.buf[0] = NEW

    def hold_stale_copy(self):
        assert mp.current_host() == READER, mp.current_host()
        assert self.shm.buf[64] == OLD and self.shm.buf[0] == 0
        self.stale.send("stale")

    def wait_for_reader(self):
        assert self.stale.recv() == "stale"

    def read(self):
        assert mp.current_host() == READER, mp.current_host()
        value = self.shm.buf[0]
        assert value == NEW, f"read {value}: the edge did not order"
        print("right")


def both(make, release, acquire, before=None):
    """An edge whose halves are one call each on an object that both sides have."""

    def run(name, stale):
        thing = make()
        ends = mp.Pipe(False)
        writer = on_host(WRITER, write_side, Side(name, stale[0]), thing, release, before, ends[1])
        assert ends[0].recv() == "prepared"
        reader = on_host(READER, read_side, Side(name, stale[1]), thing, acquire)
        return [writer, reader]

    return run


def write_side(side, thing, release, before, prepared):
    side.open()
    if before is not None:
        before(thing)
    prepared.send("prepared")
    side.wait_for_reader()
    side.write()
    release(thing)


def read_side(side, thing, acquire):
    side.open().hold_stale_copy()
    acquire(thing)
    side.read()


def until(condition):
    while not condition():
        pass


def wait_condition(cond):
    with cond:
        assert cond.wait(30)


def notify(cond):
    until(lambda: cond._sleeping_count.get_value() > 0)
    with cond:
        cond.notify()


def finish_task(queue):
    queue.get()
    queue.task_done()


def queue_with_task():
    queue = mp.JoinableQueue()
    queue.put("task")
    return queue


def child_of_writer(name, stale):
    """Process.start: the child reads what its parent wrote before; its host has a stale copy."""
    return [
        on_host(WRITER, start_reader, Side(name, stale[0])),
        on_host(READER, just_stale, Side(name, stale[1])),
    ]


def just_stale(side):
    side.open().hold_stale_copy()


def start_reader(side):
    side.open()
    side.wait_for_reader()
    side.write()
    side.stale = None
    name, side.shm = side.name, None
    child = on_host(READER, read_at_once, Side(name, None))
    child.join()
    assert child.exitcode == 0


def read_at_once(side):
    side.open().read()


def join_writer(how, wait):
    def run(name, stale):
        return [on_host(READER, parent_of_writer, Side(name, stale[1]), stale[0], how, wait)]

    return run


def parent_of_writer(side, other, how, wait):
    side.open()
    child = on_host(WRITER, write_and_end, Side(side.name, other), how)
    side.hold_stale_copy()
    wait(child)
    side.read()


def write_and_end(side, how):
    side.open()
    side.wait_for_reader()
    side.write()
    how()


def end_by_kill():
    os.kill(os.getpid(), signal.SIGKILL)


def lose_host():
    """What was published is there, though nobody can say any more how far that went."""
    mp.Event().set()
    agent = os.getppid()
    while b"agent" not in read(agent, "cmdline"):
        agent = int(read(agent, "stat").rpartition(b")")[2].split()[1])
    os.kill(agent, signal.SIGKILL)
    signal.pause()


def read(pid, name):
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()


def join_lost(child):
    try:
        child.join()
    except mp.HostLostError as error:
        assert error.host == WRITER
    else:
        raise AssertionError("the host was not lost")


def pool_task(name, stale):
    """Submitting a task: the worker reads what the submitter wrote."""
    return [
        on_host(WRITER, submit, Side(name, stale[0])),
        on_host(READER, just_stale, Side(name, stale[1])),
    ]


def submit(side):
    side.open()
    side.wait_for_reader()
    all_here = mp.Barrier(WORKERS)
    with mp.Pool(WORKERS, meet_at, (all_here,)) as pool:
        pool.map(meet, range(WORKERS), chunksize=1)
        side.write()
        readers = pool.map(read_if_reader, [side.name] * WORKERS, chunksize=1)
        assert any(readers)


def meet_at(barrier):
    global all_here
    all_here = barrier


def meet(_):
    all_here.wait()  # so every worker gets one


def read_if_reader(name):
    here = mp.current_host() == READER
    if here:
        Side(name, None).open().read()
    all_here.wait()
    return here


def pool_result(name, stale):
    return [on_host(READER, collect, Side(name, stale[1]), stale[0])]


def collect(side, other):
    """A result: what the worker wrote is there when get() returns."""
    side.open()
    all_here = mp.Barrier(WORKERS)
    with mp.Pool(WORKERS, meet_at, (all_here,)) as pool:
        pool.map(meet, range(WORKERS), chunksize=1)
        side.hold_stale_copy()
        assert other.recv() == "stale"
        assert any(pool.map(write_if_writer, [side.name] * WORKERS, chunksize=1))
    side.read()


def write_if_writer(name):
    all_here.wait()
    if mp.current_host() != WRITER:
        return False
    Side(name, None).open().write()
    return True


def manager_call(name, stale):
    manager = mp.Manager()
    shared = manager.dict()
    heard, prepared = mp.Pipe(False)
    processes = [
        on_host(WRITER, write_side, Side(name, stale[0]), shared, set_key, None, prepared),
        on_host(READER, read_side, Side(name, stale[1]), shared, poll_key),
    ]
    assert heard.recv() == "prepared"
    return [*processes, manager]  # the manager lives as long as it is held


def set_key(shared):
    shared["done"] = True


def poll_key(shared):
    until(lambda: shared.get("done"))


def standard_writer(name, stale):
    """The writer writes into a standard pipe of its own host; the reader has its proxy."""
    return [on_host(WRITER, write_here, Side(name, stale[0]), stale[1])]


def write_here(side, other):
    side.open()
    reader, writer = multiprocessing.Pipe(False)
    child = on_host(READER, read_side, Side(side.name, other), reader, lambda t: t.recv())
    side.wait_for_reader()
    side.write()
    writer.send(None)
    child.join()
    assert child.exitcode == 0


def standard_reader(name, stale):
    return [on_host(READER, read_here, Side(name, stale[1]), stale[0])]


def read_here(side, other):
    side.open()
    reader, writer = multiprocessing.Pipe(False)
    child = on_host(WRITER, write_there, Side(side.name, other), writer)
    side.hold_stale_copy()
    reader.recv()
    side.read()
    child.join()
    assert child.exitcode == 0


def write_there(side, writer):
    side.open()
    side.wait_for_reader()
    side.write()
    writer.send(None)


def by_address(name, stale):
    heard, said = mp.Pipe(False)
    reader = on_host(READER, listen, Side(name, stale[1]), said)
    return [reader, on_host(WRITER, connect, Side(name, stale[0]), heard.recv())]


def listen(side, said):
    with Listener(("127.0.0.1", 0)) as listener:
        said.send(listener.address)
        with listener.accept() as conn:
            read_side(side, conn, lambda t: t.recv())


def connect(side, address):
    with Client(address) as conn:
        heard, prepared = mp.Pipe(False)
        write_side(side, conn, lambda t: t.send(None), None, prepared)
        assert heard.recv() == "prepared"


def accepted(name, stale):
    """The driver accepts, and passes its end on to the reader."""
    with Listener(("127.0.0.1", 0)) as listener:
        writer = on_host(WRITER, connect, Side(name, stale[0]), listener.address)
        with listener.accept() as conn:
            reader = on_host(READER, read_side, Side(name, stale[1]), conn, lambda t: t.recv())
    return [writer, reader]


standard = multiprocessing.get_context("fork")

EDGES = {
    "lock": both(mp.Lock, lambda t: t.release(), lambda t: t.acquire(), lambda t: t.acquire()),
    "rlock": both(mp.RLock, lambda t: t.release(), lambda t: t.acquire(), lambda t: t.acquire()),
    "try_lock": both(
        mp.Lock,
        lambda t: t.release(),
        lambda t: until(lambda: t.acquire(False)),
        lambda t: t.acquire(),
    ),
    "semaphore": both(lambda: mp.Semaphore(0), lambda t: t.release(), lambda t: t.acquire()),
    "get_value": both(
        lambda: mp.Semaphore(0), lambda t: t.release(), lambda t: until(lambda: t.get_value())
    ),
    "condition": both(mp.Condition, notify, wait_condition),
    "event": both(mp.Event, lambda t: t.set(), lambda t: t.wait()),
    "is_set": both(mp.Event, lambda t: t.set(), lambda t: until(t.is_set)),
    "barrier": both(lambda: mp.Barrier(2), lambda t: t.wait(), lambda t: t.wait()),
    "queue": both(mp.Queue, lambda t: t.put(None), lambda t: t.get()),
    "queue_empty": both(mp.Queue, lambda t: t.put(None), lambda t: until(lambda: not t.empty())),
    "simple_queue": both(mp.SimpleQueue, lambda t: t.put(None), lambda t: t.get()),
    "task_done": both(queue_with_task, finish_task, lambda t: t.join()),
    "pipe": both(mp.Pipe, lambda t: t[0].send(None), lambda t: t[1].recv()),
    "pipe_bytes": both(
        lambda: mp.Pipe(False), lambda t: t[1].send_bytes(b"x"), lambda t: t[0].recv_bytes()
    ),
    "standard_pipe": both(
        lambda: standard.Pipe(False), lambda t: t[1].send(None), lambda t: t[0].recv()
    ),
    "standard_poll": both(
        lambda: standard.Pipe(False), lambda t: t[1].send(None), lambda t: t[0].poll(None)
    ),
    "standard_writer": standard_writer,
    "standard_reader": standard_reader,
    "standard_queue": both(standard.Queue, lambda t: t.put(None), lambda t: t.get()),
    "client": by_address,
    "accepted": accepted,
    "start": child_of_writer,
    "exit": join_writer(lambda: None, lambda child: child.join()),
    "_exit": join_writer(lambda: os._exit(3), lambda child: child.join()),
    "kill": join_writer(end_by_kill, lambda child: child.join()),
    "lost": join_writer(lose_host, join_lost),
    "exitcode": join_writer(lambda: None, lambda child: until(lambda: child.exitcode is not None)),
    "sentinel": join_writer(
        lambda: None, lambda child: (connection.wait([child.sentinel]), child.is_alive())
    ),
    "pool_task": pool_task,
    "pool_result": pool_result,
    "manager": manager_call,
}


def main():
    assert mp.current_host() == 0
    shm = mp.SharedMemory(create=True, size=4096)
    home = on_host(HOME, settle_home, shm.name)
    home.join()
    assert home.exitcode == 0
    stale = mp.Pipe(False)
    running = EDGES[sys.argv[1]](shm.name, stale)
    for process in running:
        if hasattr(process, "join") and hasattr(process, "exitcode"):
            process.join()
            assert process.exitcode == 0, process
    shm.close()
    shm.unlink()


if __name__ == "__main__":
    main()
