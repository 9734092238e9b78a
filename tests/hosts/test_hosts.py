"""Programs over hosts that share no file system, no process table and no loopback.

The driver is on host 1, the master on host 0, so that most of what a program makes is at home
elsewhere; only the driver's host has the script.
"""

from __future__ import annotations

import os
import signal

import pytest
from helpers import eventually
from hostcluster import HostCluster

DRIVER = 1

WHOLE = """
    import os, sys
    import dsmproc as mp
    import numpy as np
    import beside

    def fill(name, lock, queue, part):
        assert os.path.exists(beside.__file__) == (mp.current_host() == 1), beside.__file__
        shm = mp.SharedMemory(name)
        view = np.ndarray((5, 4096), np.int64, buffer=shm.buf)
        view[part] = beside.times_two(part)
        for _ in range(50):
            with lock:
                view[4, 0] += 1  # nobody fills that row
        del view
        queue.put((part, mp.current_host(), os.uname().nodename))
        shm.close()

    def square(x):
        return x * x, mp.current_host()

    shm = mp.SharedMemory(create=True, size=5 * 4096 * 8)
    view = np.ndarray((5, 4096), np.int64, buffer=shm.buf)
    lock, queue = mp.Lock(), mp.Queue()
    processes = [mp.Process(target=fill, args=(shm.name, lock, queue, i)) for i in range(4)]
    for process in processes:
        process.start()
    said = sorted(queue.get(timeout=30) for _ in processes)
    for process in processes:
        process.join()
    print("hosts", sorted({host for _, host, _ in said}), sorted({name for *_, name in said}))
    print("counted", int(view[4, 0]), view[1:4, 7].tolist(), int(view.sum()))
    with mp.Pool(8) as pool:
        done = pool.map(square, range(64), chunksize=2)
    print("pool", [value for value, _ in done] == [x * x for x in range(64)])
    print("shm", os.listdir("/dev/shm"))
    del view
    shm.close()
    shm.unlink()
"""


def test_a_program_uses_everything_on_every_host(shared_cluster: HostCluster) -> None:
    driver = shared_cluster.hosts[DRIVER]
    driver.write(f"{driver.work}/beside.py", "def times_two(x):\n    return 2 * x\n")
    result = shared_cluster.run(DRIVER, WHOLE, env={"DSMPROC_PLACE": "spread"}).check()
    assert result.lines() == [
        "hosts [0, 1, 2, 3] ['host0', 'host1', 'host2', 'host3']",
        f"counted 200 [2, 4, 6] {200 + 4096 * (2 + 4 + 6)}",
        "pool True",
        "shm []",
    ], result.err


def test_a_driver_belongs_to_the_agent_of_its_own_host(shared_cluster: HostCluster) -> None:
    """All these hosts have one boot id: what they share does not make them one machine."""
    for number in range(4):
        text = "import dsmproc, os\nprint(dsmproc.current_host(), os.uname().nodename)\n"
        assert shared_cluster.run(number, text).check().out.split() == [
            f"{number}",
            f"host{number}",
        ]


PIDS = """
    import os, signal, sys, time
    import dsmproc as mp

    def tell(queue):
        queue.put((mp.current_host(), os.getpid(), mp.current_process().pid, os.getppid()))
        time.sleep(300)

    def leave(code):
        sys.exit(code)

    queue = mp.Queue()
    processes = []
    for host in (0, 2, 3) * 3:
        process = mp.Process(target=tell, args=(queue,))
        process._dsmproc_host = host
        process.start()
        processes.append(process)
    said = [queue.get(timeout=30) for _ in processes]
    assert sorted(pid for _, pid, _, _ in said) == sorted(p.pid for p in processes), said
    assert all(pid == own for _, pid, own, _ in said), said
    print("unique", len({p.pid for p in processes}), "alive", all(p.is_alive() for p in processes))
    processes[0].terminate()
    processes[1].kill()
    for process in processes[2:]:
        process.kill()
    for process in processes:
        process.join(30)
    print("codes", [p.exitcode for p in processes[:3]])
    last = mp.Process(target=leave, args=(7,))
    last._dsmproc_host = 3
    last.start()
    last.join(30)
    print("code", last.exitcode)
"""


def test_pids_of_hosts_that_count_alike_are_unique_and_real(shared_cluster: HostCluster) -> None:
    """Each host numbers its processes from 1, so two hosts soon offer the same number."""
    result = shared_cluster.run(DRIVER, PIDS).check()
    assert result.lines() == [
        "unique 9 alive True",
        "codes [-15, -9, -9]",
        "code 7",
    ], result.err


COLLIDING = """
    import os, time
    import dsmproc as mp

    def start(host):
        process = mp.Process(target=time.sleep, args=(300,))
        process._dsmproc_host = host
        process.start()
        return process

    many = [start(2) for _ in range(6)]
    print(f"first={min(p.pid for p in many)}", flush=True)
    while not os.path.exists("go"):
        time.sleep(0.01)
    one = start(3)
    print("collides", one.pid in {p.pid for p in many}, "beyond", one.pid > many[0].pid)
    for process in [*many, one]:
        process.kill()
        process.join()
"""


def test_a_taken_pid_is_not_given_to_a_second_process(shared_cluster: HostCluster) -> None:
    """Host 3's kernel is made to offer the very numbers that host 2 gave."""
    running = shared_cluster.script(DRIVER, COLLIDING)
    last = running.number("first") - 1
    command = f"echo {last} > /proc/sys/kernel/ns_last_pid"
    shared_cluster.hosts[3].run("sh", "-c", command).check()
    driver = shared_cluster.hosts[DRIVER]
    driver.write(f"{driver.work}/go", "")
    assert running.wait().check().lines()[-1] == "collides False beyond True"


def test_a_killed_process_is_reported_across_hosts(shared_cluster: HostCluster) -> None:
    """Killed from outside, by its pid as the machine below knows it."""
    running = shared_cluster.script(
        DRIVER,
        """
        import os, time
        import dsmproc as mp

        def sleep(queue):
            queue.put(os.getpid())
            time.sleep(300)

        queue = mp.Queue()
        process = mp.Process(target=sleep, args=(queue,))
        process._dsmproc_host = 2
        process.start()
        print(f"worker={queue.get(timeout=30)}", flush=True)
        process.join(30)
        print("exitcode", process.exitcode)
        """,
    )
    inside = running.number("worker")
    outside = eventually(lambda: _outside(shared_cluster.hosts[2].pid, inside), what="its pid here")
    os.kill(outside, signal.SIGKILL)
    assert running.wait().check().lines()[-1] == "exitcode -9"


def _outside(init: int, inside: int) -> int | None:
    """The pid, as seen from here, of a process of the pid namespace whose first process is init."""
    namespace = os.readlink(f"/proc/{init}/ns/pid")
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/ns/pid") != namespace:
                continue
            with open(f"/proc/{name}/status", encoding="ascii") as file:
                numbers = next(line for line in file if line.startswith("NSpid:")).split()
        except OSError:
            continue
        if int(numbers[-1]) == inside:
            return int(name)
    return None


DIRECTORIES = """
    import os
    import dsmproc as mp

    def where(queue):
        queue.put((mp.current_host(), os.getcwd(), os.path.exists("made-here")))
        open("made-here", "w").close()

    queue = mp.Queue()
    said = []
    for host in (0, 1, 2):
        for _ in range(2):
            process = mp.Process(target=where, args=(queue,))
            process._dsmproc_host = host
            process.start()
            said.append(queue.get(timeout=30))
            process.join()
    for host, folder, there in said:
        print(host, folder == os.getcwd(), there, folder.startswith("/tmp/dsmproc-"))
"""


def test_the_working_directory_is_the_drivers_where_that_exists(
    shared_cluster: HostCluster,
) -> None:
    """Host 2 has such a folder; host 0 has not, and each process gets a private one."""
    driver, other = shared_cluster.hosts[DRIVER], shared_cluster.hosts[2]
    os.mkdir(other.path(driver.work))
    result = shared_cluster.run(DRIVER, DIRECTORIES).check()
    assert result.lines() == [
        "0 False False True",
        "0 False False True",
        "1 True False False",
        "1 True True False",
        "2 True False False",
        "2 True True False",
    ], result.err


MODULES = """
    import sys
    import dsmproc as mp
    import beside

    def work(queue):
        try:
            import nowhere
        except ModuleNotFoundError as error:
            missing = error.name
        import package.inner
        queue.put((beside.VALUE, package.inner.VALUE, missing, mp.current_host()))

    queue = mp.Queue()
    process = mp.Process(target=work, args=(queue,))
    process._dsmproc_host = 3
    process.start()
    print(queue.get(timeout=30))
    process.join()
"""


def test_modules_come_from_the_drivers_folder(shared_cluster: HostCluster) -> None:
    driver = shared_cluster.hosts[DRIVER]
    driver.write(f"{driver.work}/beside.py", "VALUE = 1\n")
    driver.write(f"{driver.work}/package/__init__.py", "")
    driver.write(f"{driver.work}/package/inner.py", "VALUE = 2\n")
    result = shared_cluster.run(DRIVER, MODULES).check()
    assert result.lines() == ["(1, 2, 'nowhere', 3)"], result.err


HANDLES = """
    import dsmproc as mp

    def last(pid):  # the zygote forks twice
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(pid - 2))

    def run(host, target, *args):
        process = mp.Process(target=target, args=args)
        process._dsmproc_host = host
        process.start()
        process.join()
        return process

    for host in (0, 2, 3):  # the first processes there leave zygotes behind
        run(host, abs, -1), run(host, abs, -1)
    ended = run(2, abs, -1)
    run(3, last, ended.pid)
    other = run(3, abs, -1)
    print(other.exitcode, 0 < other.pid - ended.pid < 8)
"""


def test_no_pid_of_a_handle_is_given_again(shared_cluster: HostCluster) -> None:
    """Executors keep their processes by pid, also one that has ended; each host counts its own."""
    result = shared_cluster.run(DRIVER, HANDLES).check()
    assert result.lines() == ["0 True"], result.err


LATE_PATH = """
import os, sys
import dsmproc as mp

def work(queue):
    import aside, at_hand
    queue.put((aside.VALUE, at_hand.VALUE, mp.current_host()))

if __name__ == "__main__":
    queue = mp.Queue()  # from here on the driver is one
    for folder in ("more", "others"):
        sys.path.insert(0, os.path.abspath(folder))
        process = mp.Process(target=work, args=(queue,))
        process._dsmproc_host = 3
        process.start()
        print(queue.get(timeout=30) if folder == "others" else process.join())
        process.join()
        print(process.exitcode)
"""


def test_modules_come_from_the_drivers_path_of_now(shared_cluster: HostCluster) -> None:
    driver = shared_cluster.hosts[DRIVER]
    driver.write(f"{driver.work}/more/aside.py", "VALUE = 3\n")
    driver.write(f"{driver.work}/others/at_hand.py", "VALUE = 4\n")
    result = shared_cluster.run(DRIVER, LATE_PATH).check()
    assert result.lines() == ["None", "1", "(3, 4, 3)", "0"], result.err
    assert "No module named 'at_hand'" in result.err


@pytest.mark.parametrize("number", [1, 3])
def test_a_cut_off_host_is_an_error_that_names_it(host_cluster: HostCluster, number: int) -> None:
    """All of a machine's processes vanish at once."""
    running = host_cluster.script(
        0,
        """
        import sys, time
        import dsmproc as mp

        process = mp.Process(target=time.sleep, args=(300,))
        process._dsmproc_host = int(sys.argv[1])
        process.start()
        print("started=1", flush=True)
        try:
            process.join()
        except mp.HostLostError as error:
            print(error)
        """,
        str(number),
    )
    running.number("started")
    host = host_cluster.hosts[number]
    os.kill(host.pid, signal.SIGKILL)
    said = running.wait().check().lines()[-1]
    assert f"host {number} ({host.address}:" in said.replace("tcp://", "") and "lost" in said
