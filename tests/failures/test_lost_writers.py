"""Who waits at a queue or pipe for what a lost host would have sent is told of it, once for each
such host, after all that had arrived. Host 1 is the one that is lost, the driver is on host 0, what
is used is at home on host 3, and who uses it on host 2."""

from __future__ import annotations

import re

import pytest
from helpers import RunScript

BEGIN = """
import os, signal, threading, time
import dsmproc as mp
from dsmproc._channels import client, handles
from dsmproc._channels.linksocket import LinkSocket
from dsmproc._memory import edges
from dsmproc._channels import frames
from dsmproc.connection import wait

def start(host, function, *arguments):
    process = mp.Process(target=function, args=arguments)
    process._dsmproc_host = host
    process.start()
    return process

def make(body, kinds):
    user = start(2, body, *(eval(kind, {"mp": mp}) for kind in kinds))
    user.join()

def perform(body, *kinds):
    start(3, make, body, kinds).join()

def put(one, what):
    (one.send if hasattr(one, "send") else one.put)(what)

def write(box, *ends):
    for one in ends:
        put(one, "first")
    box.put(os.getppid())
    signal.pause()

def take(box, *queues):
    taken = [one.get() for one in queues]
    for one in queues:
        one.qsize()  # that they have arrived is said with the next request
    box.put(taken)
    signal.pause()

def have(box, *queues):
    box.put(None)
    signal.pause()

def outcome(operation, *arguments, **named):
    try:
        return operation(*arguments, **named)
    except Exception as error:
        if isinstance(error, mp.HostLostError):
            assert f"host {error.host} (" in str(error) and "agent pid" in str(error)
        return type(error).__name__

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def read(name, said, count, get):
    \"\"\"What so many reads come to; before the last one the driver is told.\"\"\"
    seen = [outcome(get) for _ in range(count - 1)]
    said.put(name)
    say(name, *seen, outcome(get))

def lose(agent, host=1):
    os.kill(agent, signal.SIGKILL)
    while host in mp.hosts():
        time.sleep(0.01)

"""

READERS = """
def of_pipe(name, conn, ready):
    seen = []
    for _ in range(3):
        ready(conn)
        seen.append(outcome(conn.recv))
    say(name, *seen)

def polled(conn):
    assert conn.poll(None)

def waited(conn):
    assert wait([conn]) == [conn]

def body(q, joinable, simple, unused, tasks, *pipes):
    (end, end_far), (both, both_far), (some, some_far) = pipes
    box, said = mp.Queue(), mp.Queue()
    start(1, have, box, unused)
    box.get()
    tasks.put("task")
    start(1, take, box, tasks)
    assert box.get() == ["task"]
    start(1, write, box, q, joinable, simple, end_far, both_far, some_far)
    agent = box.get()
    readers = [
        start(0, read, "queue", said, 3, q.get),
        start(2, read, "joinable", said, 3, joinable.get),
        start(2, read, "simple", said, 3, simple.get),
        start(2, read, "unused", said, 2, unused.get),
        start(2, read, "tasks", said, 1, tasks.get),  # its other reader is lost, and no writer
        start(2, of_pipe, "pipe", end, polled),
        start(2, of_pipe, "duplex", both, waited),
        start(2, read, "shared", said, 3, some.recv),
    ]
    for closed in (end, end_far, both, both_far):
        closed.close()  # the maker's are, for it has dropped them
    assert said.get() == "tasks"
    lose(agent)
    for _ in range(5):
        said.get()
    for one in (q, joinable, simple, unused, tasks, some_far):
        put(one, "later")
    for process in readers:
        process.join()
    say("user", outcome(q.get), q.empty())

queues = [f"mp.{kind}()" for kind in ("Queue", "JoinableQueue", "SimpleQueue", "Queue", "Queue")]
perform(body, *queues, "mp.Pipe(False)", "mp.Pipe()", "mp.Pipe()")
"""


def test_readers_of_all_kinds(run_script: RunScript) -> None:
    result = run_script(BEGIN + READERS, local=4).check()
    assert sorted(result.lines()) == [
        "duplex first LastWriterLostError EOFError",
        "joinable first WriterLostError later",
        "pipe first LastWriterLostError EOFError",
        "queue first WriterLostError later",
        "shared first WriterLostError later",
        "simple first WriterLostError later",
        "tasks later",
        "unused WriterLostError later",
        "user WriterLostError True",
    ]


ONCE = """
def once(name, *reads):
    say(name, *(outcome(read) for read in reads))

def half(box, q):
    head = frames.HEADER.pack(frames.SEND, 0, 0, 0, 0, 100)
    (whole,) = q._link._socket.pieces(head, bytes(100))
    q._link._socket.sock.sendall(whole[:60])
    box.put(os.getppid())
    signal.pause()

def interrupt():
    raise KeyboardInterrupt

def body(q, cut, taken, handed):
    box = mp.Queue()
    start(1, half, box, cut)
    box.get()
    start(1, write, box, q, taken, handed)
    agent = box.get()
    assert [one.get() for one in (q, taken, handed)] == 3 * ["first"]
    waiting = threading.Semaphore(0)
    answer = LinkSocket.answer

    def counted(*arguments):
        waiting.release()
        return answer(*arguments)

    LinkSocket.answer = counted
    threads = [threading.Thread(target=once, args=("thread", q.get)) for _ in range(2)]
    for thread in threads:
        thread.start()
        waiting.acquire()
    lose(agent)
    for thread in threads:
        thread.join()
    once("user", lambda: q.get(False), lambda: q.get(True, 0.01), q.empty)
    start(2, once, "child", lambda: q.get(False)).join()
    start(2, once, "half", cut.empty, lambda: cut.get(False), lambda: cut.get(False)).join()

    ready = taken._reader
    waited = wait([ready]) == [ready]
    observe_newest, edges.observe_newest = edges.observe_newest, interrupt
    try:
        taken.get(timeout=20)
    except KeyboardInterrupt:
        edges.observe_newest = observe_newest
        once("interrupted", lambda: taken.get(timeout=20), lambda: taken.get(False), taken.empty)
    say("ready", waited, wait([ready], 0) == [])

    other = client.Link(handed._link.owner, handed._link.channel, handed._link.role)
    for kind in (frames.GET, frames.CANCEL):
        other._socket.send(frames.frame(kind, 7))
    while other._socket.receive().kind != frames.CANCELLED:
        pass
    once("cancelled", other.get, lambda: other.get(flags=frames.NOWAIT))

perform(body, *4 * ["mp.Queue()"])
"""


def test_each_process_is_told_once(run_script: RunScript) -> None:
    """By all ways to ask, and whatever interrupts it; who is given the queue by one that knows is
    not told again."""
    result = run_script(BEGIN + ONCE, local=4).check()
    assert sorted(result.lines()) == [
        "cancelled WriterLostError EMPTY",
        "child Empty",
        "half False WriterLostError Empty",
        "interrupted WriterLostError Empty True",
        "ready True True",
        "thread WriterLostError",
        "thread WriterLostError",
        "user Empty Empty True",
    ]


TWO = """
def hosts_of(read):
    for _ in range(2):
        try:
            say(read())
        except mp.WriterLostError as error:
            say(error.host, isinstance(error, EOFError))

def body(q, pipe):
    reader, writer = pipe
    box = mp.Queue()
    agents = []
    for host in (4, 1):
        start(host, write, box, q, writer)
        agents.append((box.get(), host))
        assert (q.get(), reader.recv()) == ("first", "first")
    writer.close()
    for agent, host in agents:
        lose(agent, host)
    hosts_of(q.get)
    hosts_of(reader.recv)
    say(outcome(q.get, False), outcome(reader.recv))

perform(body, "mp.Queue()", "mp.Pipe(False)")
"""


def test_two_hosts_are_two_losses(run_script: RunScript) -> None:
    result = run_script(BEGIN + TWO, local=5).check()
    assert result.lines() == ["4 False", "1 False", "4 True", "1 True", "Empty EOFError"]


IN_FLIGHT = """
def adopt(box, owner, place):
    anchor = client.Link(owner)
    assert anchor.request(frames.ADOPT, place.pack(), tickets=1).kind == frames.OK
    box.put(os.getppid())
    signal.pause()

def body(pipe):
    reader, writer = pipe
    with handles.carrying() as places:
        handle = handles.handle(writer._writer)
    box = mp.Queue()
    start(1, adopt, box, handle.owner, *places)
    agent = box.get()
    writer.close()
    lose(agent)
    say(outcome(reader.recv), outcome(reader.recv))

perform(body, "mp.Pipe(False)")
"""


def test_an_end_that_had_not_arrived(run_script: RunScript) -> None:
    result = run_script(BEGIN + IN_FLIGHT, local=4).check()
    assert result.lines() == ["LastWriterLostError EOFError"]


WRITERS = """
def body(tasks, full, served):
    box = mp.Queue()
    for one in (full, served):
        one.put("first")
    for _ in range(2):
        tasks.put("task")
    start(1, take, box, full, served, tasks, tasks)
    assert box.get() == ["first", "first", "task", "task"]
    full.put("second")
    served.put("second")
    reader = start(2, take, box, served)
    assert box.get() == ["second"]
    served.put("third")
    start(1, write, box)
    agent = box.get()
    lose(agent)
    say("full", outcome(full.put, "lost"), outcome(full.put, "lost", False))
    say("served", outcome(served.put, "lost", False))
    say("join", outcome(tasks.join))
    for _ in range(2):
        tasks.task_done()
    tasks.join()
    say("joined", full.get(), served.get())
    reader.kill()

perform(body, "mp.JoinableQueue()", "mp.Queue(1)", "mp.Queue(1)")
"""


def test_writers_that_wait_in_vain(run_script: RunScript) -> None:
    """For room, if all readers were on a lost host; for tasks that such a one had taken."""
    result = run_script(BEGIN + WRITERS, local=4).check()
    assert result.lines() == [
        "full HostLostError Full",
        "served Full",
        "join HostLostError",
        "joined second third",
    ]


READER_LOST = """
def read_one(box, *readers):
    for one in readers:
        one.recv()
    box.put((os.getppid(), os.getpid()))
    while True:
        signal.pause()

def until_broken(send, *what):
    while (found := outcome(send, *what)) is None:
        pass
    return found

def write_until_broken(name, writer, *what):
    say(name, *(until_broken(writer.send, *what) for _ in range(2)))

def body(*pipes):
    box = mp.Queue()
    (of_worker, one), *lost = pipes
    for _, writer in pipes:
        writer.send("first")
    start(1, read_one, box, *(reader for reader, _ in lost))
    agent, _ = box.get()
    start(0, read_one, box, of_worker)
    _, worker = box.get()
    for reader, _ in pipes:
        reader.close()
    (_, small), (_, large), (_, handles) = lost
    full = start(2, write_until_broken, "large", large, bytes(frames.WINDOW))
    lose(agent)
    write_until_broken("small", small, "x")
    write_until_broken("handles", handles, one)
    full.join()
    os.kill(worker, signal.SIGKILL)
    write_until_broken("worker", one, "x")

perform(body, *4 * ["mp.Pipe(False)"])
"""


def test_who_writes_to_a_lost_reader(run_script: RunScript) -> None:
    """A worker that is killed alone leaves a broken pipe, as ever."""
    result = run_script(BEGIN + READER_LOST, local=4).check()
    assert sorted(result.lines()) == [
        "handles LastReaderLostError LastReaderLostError",
        "large LastReaderLostError LastReaderLostError",
        "small LastReaderLostError LastReaderLostError",
        "worker BrokenPipeError BrokenPipeError",
    ]


CLIENTS = """
import tempfile
from dsmproc.connection import Client, Listener

def serve(box, address):
    with Listener(address) as listener:
        box.put(listener.address)
        ours = listener.accept()
    box.put((os.getppid(), os.getpid()))
    while True:
        signal.pause()

def connect(host, address):
    box = mp.Queue()
    start(host, serve, box, address)
    return Client(box.get()), *box.get()

def told_by(conn):
    return outcome(conn.recv), outcome(conn.recv)

def sent(conn):
    while (found := outcome(conn.send, bytes(100))) is None:
        pass
    return found in ("LastReaderLostError", "LostChannelError")

def body(folder):
    inet, unix = ("127.0.0.1", 0), os.path.join(folder, "socket")
    reads, agent, _ = connect(1, inet)
    writes, _, _ = connect(1, unix)
    ended, _, worker = connect(0, unix + "2")
    lose(agent)
    say("client", *told_by(reads), sent(writes))
    os.kill(worker, signal.SIGKILL)
    say("worker", *told_by(ended))

with tempfile.TemporaryDirectory() as folder:
    start(2, body, folder).join()
"""


def test_a_client_of_a_lost_listener(run_script: RunScript) -> None:
    """As the standard library says it, and which host it was."""
    result = run_script(BEGIN + CLIENTS, local=3).check()
    assert result.lines() == [
        "client LastWriterLostError EOFError True",
        "worker EOFError EOFError",
    ]


STARTED = """
class Lose:
    def __reduce__(self):
        return lose, (int(os.environ["AGENT"]),)  # before what comes after it is unpickled

def middle(one, ended, told):
    process = mp.Process(target=print, args=("it ran", Lose(), one), name="Late")
    process._dsmproc_host = 0
    process.start()
    process.join()
    told.wait()  # an empty queue is what a loss is told at
    ended.put(process.exitcode)

def home(kind, ended, told):
    os.environ["AGENT"] = str(os.getppid())
    start(2, middle, eval(kind), ended, told).join()

ended, told = mp.Queue(), mp.Event()
say(outcome(start(1, home, KIND, ended, told).join))
lost = outcome(ended.get)  # the lost host had it, too
told.set()
say(lost, outcome(ended.get))
"""


@pytest.mark.parametrize("kind", ["mp.Queue()", "mp.SimpleQueue()", "mp.Pipe()[1]"])
def test_a_process_that_starts_when_its_queue_is_lost(run_script: RunScript, kind: str) -> None:
    """One line says so, and no traceback of the start."""
    result = run_script(BEGIN + STARTED.replace("KIND", repr(kind)), local=4).check()
    assert result.lines() == ["HostLostError", "WriterLostError 1"]
    (line,) = [line for line in result.err.splitlines() if "Late" in line]
    said = r"dsmproc: Late \(pid \d+\) cannot start: a \w+ was lost with its host: host 1 "
    assert re.match(said, line)
    assert "Traceback" not in result.err


LEAVING = """
def body(q, pipe):
    reader, writer = pipe
    box = mp.Queue()
    start(1, write, box, q, writer)
    agent = box.get()
    writer.close()
    os.kill(agent, signal.SIGTERM)
    while 1 in mp.hosts():
        time.sleep(0.01)
    say("pipe", outcome(reader.recv), outcome(reader.recv))
    say("queue", outcome(q.get), outcome(q.get, False))

perform(body, "mp.Queue()", "mp.Pipe(False)")
"""


def test_a_host_that_leaves_is_no_loss(run_script: RunScript) -> None:
    result = run_script(BEGIN + LEAVING, local=4).check()
    assert result.lines() == ["pipe first EOFError", "queue first Empty"]


BARRIER = """
def rounds(barrier, box):
    for _ in range(3):
        barrier.wait()
    if mp.current_host() == 1:
        box.put(os.getppid())
        signal.pause()
    say(outcome(barrier.wait))
    barrier.reset()
    say(outcome(barrier.wait, 0))

def body(barrier):
    box = mp.Queue()
    there = start(1, rounds, barrier, box)
    here = threading.Thread(target=rounds, args=(barrier, box))
    here.start()
    lose(box.get())
    here.join()

perform(body, "mp.Barrier(2)")
"""


def test_a_barrier_whose_party_computes(run_script: RunScript) -> None:
    """The second error is of the time that is up: nobody has come since the reset."""
    result = run_script(BEGIN + BARRIER, local=4).check()
    assert result.lines() == ["BrokenBarrierError", "BrokenBarrierError"]


EXECUTOR = """
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

def where(_):
    time.sleep(0.05)
    return mp.current_host(), os.getppid()

def body():
    with ProcessPoolExecutor(4, mp.get_context("cluster")) as executor:
        while 1 not in (agents := dict(executor.map(where, range(8)))):
            pass
        slow = executor.submit(signal.pause)
        lose(agents[1])
        say(outcome(slow.result))

start(2, body).join()
"""


def test_an_executor_whose_worker_was_there_is_broken_and_ends(run_script: RunScript) -> None:
    result = run_script(BEGIN + EXECUTOR, local=3).check()
    assert result.lines() == ["BrokenProcessPool"]
    assert "Traceback" not in result.err, result.err


BEFORE_OURS = """
from dsmproc import cluster
say(cluster.client().why_if_lost(9))
"""


def test_a_host_that_was_lost_before_ours_joined(run_script: RunScript) -> None:
    """Its loss was never told here: who asks is answered all the same."""
    result = run_script(BEGIN + BEFORE_OURS, local=2).check()
    assert result.lines() == ["the connection to the agent of host 9 was lost"]
