"""The host of a manager's server is lost: each call of a proxy says so, those that wait and those
that come, on the driver's host and on another."""

from __future__ import annotations

from helpers import RunScript

SCRIPT = """
import os, signal, threading, time
import dsmproc as mp
import dsmproc.managers

def outcome(function):
    try:
        return function()
    except mp.HostLostError as error:
        assert error.host == 1 and "host 1 (" in str(error) and "agent pid" in str(error), error
        return "named"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def in_thread(function):
    seen = []
    thread = threading.Thread(target=lambda: seen.append(outcome(function)))
    thread.start()
    return thread, seen

def wait(box, queue, lock, event, shared):
    waits = [in_thread(one) for one in (queue.get, lock.acquire, event.wait)]
    shared["here"] = 1
    box.put(None)
    seen = []
    for thread, said in waits:
        thread.join()
        seen += said
    while 1 in mp.hosts():
        time.sleep(0.01)
    for _ in range(2):  # a connection that was there, twice
        seen.append(outcome(lambda: shared.get("here")))
    thread, said = in_thread(queue.qsize)  # and a new one
    thread.join()
    box.put((mp.current_host(), *seen, *said))

def serve(said):
    said.put(os.getppid())

agents = mp.Queue()
finder = mp.Process(target=serve, args=(agents,))
finder._dsmproc_host = 1
finder.start()
finder.join()

place = mp.managers._server_host
mp.managers._server_host = lambda: (1, place()[1])
manager = mp.Manager()
shared = manager.Queue(), manager.Lock(), manager.Event(), manager.dict()
shared[1].acquire()
box = mp.Queue()
waiting = []
for host in (0, 2):
    process = mp.Process(target=wait, args=(box, *shared))
    process._dsmproc_host = host
    process.start()
    waiting.append(process)
for _ in waiting:
    assert box.get() is None
os.kill(agents.get(), signal.SIGKILL)
for line in sorted(box.get() for _ in waiting):
    print(*line, flush=True)
print(outcome(shared[2].is_set), flush=True)
for process in waiting:
    process.join()
"""


def test_each_call_names_the_lost_host(run_script: RunScript) -> None:
    result = run_script(SCRIPT, local=3).check()
    assert result.lines() == ["0" + " named" * 6, "2" + " named" * 6, "named"]
    assert "Traceback" not in result.err, result.err
