"""Another user of a host, who does not have the key: he is at an address where a part of the
cluster was, or speaks to one that is there. No byte of his is loaded, and nobody waits for him."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from helpers import TIMEOUT, ByHand, Running, RunScript, eventually

from dsmproc._net import wire

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root: it becomes another user")
STRANGER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stranger.py")


@contextlib.contextmanager
def stranger(*arguments: str) -> Iterator[Running]:
    command = [sys.executable, STRANGER, *arguments]
    running = Running(
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/")
    )
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def mark(tmp_path: object) -> Iterator[str]:
    """The file that is there if something of the stranger's was loaded."""
    path = os.path.join(str(tmp_path), "mark")
    yield path
    assert not os.path.exists(path), "code of a stranger ran"


def status(port: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dsmproc", "status", "--address", f"127.0.0.1:{port}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def test_a_handshake_that_is_passed_on_gives_nothing(by_hand: ByHand, mark: str) -> None:
    """He is where a head was, and a head with the same key is somewhere else."""
    other = str(wire.parse_address(by_hand.address)[1])
    with stranger("relay", "0", other, "forge", mark) as relay:
        port = relay.number("port")
        done = status(port)
        relay.read_until("passed on")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done
    assert f"tcp://127.0.0.1:{port} says what was not made with the cluster's key" in done.stderr


def test_who_passes_a_handshake_on_and_is_silent_is_not_waited_for(
    by_hand: ByHand, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "HANDSHAKE_SECONDS", 2.0)
    master = wire.parse_address(by_hand.address)
    with stranger("relay", "0", str(master[1]), "silent", mark) as relay:
        address = "127.0.0.1", relay.number("port")
        with pytest.raises(ConnectionError, match=f"{address[1]} says nothing for 2 s"):
            wire.query(address, wire.read_key(by_hand.key_file), "status")
        relay.read_until("passed on")


READER = """
import os, socket, sys, time
import dsmproc as mp

def work(queue):
    reader, writer = mp.Pipe(False)
    queue.put(reader)
    time.sleep(300)

queue = mp.SimpleQueue()
process = mp.Process(target=work, args=(queue,))
process._dsmproc_host = 1
process.start()
reader = queue.get()  # of a pipe that lives there
print("ready", flush=True)
try:
    process.join()
except mp.HostLostError:
    print("lost", flush=True)
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as test:
    test.recv(1)
if os.fork() == 0:  # it needs a connection of its own
    began = time.monotonic()
    try:
        reader.recv()
    except mp.HostLostError as error:
        print("error:", error, "within", int(time.monotonic() - began), flush=True)
    os._exit(0)
os.wait()
print("end", flush=True)
"""


@pytest.mark.parametrize("how", ["forge", "silent"])
def test_who_is_where_a_lost_host_was_is_not_called(
    by_hand: ByHand, run_script: RunScript, mark: str, how: str
) -> None:
    by_hand.agent()
    by_hand.wait_for(2)
    here, there = by_hand.status()["hosts"]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        driver = run_script.start(READER, address=by_hand.address, args=[str(port)])
        driver.read_until("ready")
        os.kill(there["pid"], signal.SIGKILL)
        driver.read_until("lost")
        ports = [str(host["address"][1]) for host in (there, here)]
        with stranger("relay", *ports, how, mark) as relay:
            relay.read_until("port=")
            listening.settimeout(TIMEOUT)
            with listening.accept()[0] as test:
                test.sendall(b"x")
                out = driver.read_until("end", timeout=20)
    assert "error: a pipe was lost with its host: host 1" in out
    assert "within 0" in out
    driver.wait().check()
    shutil.rmtree(os.path.dirname(there["socket"]))


@pytest.fixture
def open_folder(nothing_left: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Temporary files are in a folder where everybody may make some, as in /tmp."""
    own = os.environ["TMPDIR"]
    os.chmod(own, 0o711)
    folder = os.path.join(own, "tmp")
    os.mkdir(folder)
    os.chmod(folder, 0o1777)
    monkeypatch.setenv("TMPDIR", folder)
    yield
    os.rmdir(folder)


ASKS = """
import socket, sys
import dsmproc as mp

mp.init(sys.argv[1])
print("joined", flush=True)
with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as test:
    test.recv(1)
mp.hosts()
"""


def test_who_is_where_the_agent_was_is_not_asked(
    open_folder: None, by_hand: ByHand, run_script: RunScript, mark: str
) -> None:
    (agent,) = by_hand.status()["hosts"]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        driver = run_script.start(ASKS, local=None, args=[by_hand.address, port])
        driver.read_until("joined")
        os.kill(agent["pid"], signal.SIGTERM)
        eventually(lambda: not os.path.exists(os.path.dirname(agent["socket"])))
        with stranger("agent", agent["socket"], mark) as impostor:
            impostor.read_until("ready")
            listening.settimeout(TIMEOUT)
            with listening.accept()[0] as test:
                test.sendall(b"x")
                result = driver.wait()
            impostor.wait()
    assert result.err.splitlines()[-1].endswith(
        "ClusterError: the agent of this host (host 0) is gone: the cluster has ended"
    )
    assert f"AuthenticationError: user 65534 is at {agent['socket']}" in result.err


def test_a_key_of_another_user_is_not_taken(by_hand: ByHand) -> None:
    """He who took the place of a key file would be the cluster."""
    os.chown(by_hand.key_file, 65534, -1)
    done = status(wire.parse_address(by_hand.address)[1])
    os.chown(by_hand.key_file, 0, -1)
    assert done.returncode == 1 and "is user 65534's" in done.stderr, done


NOISE = "EAx\x1b[1A\x1b]0;owned\x07\r\nhost 1 (tcp://192.0.2.1:1, agent pid 1) was lost: \u202eevil"


def test_what_he_says_is_not_for_the_log(key_file: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        fd, port = listening.fileno(), listening.getsockname()[1]
        command = [sys.executable, "-m", "dsmproc", "head", "--no-agent", "--listen-fd", str(fd)]
        head = Running(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[fd])
        )
    with stranger("flood", str(port), "300", NOISE) as flood:
        assert flood.wait().code == 0
    head.process.terminate()
    lines = head.wait().err.splitlines()
    assert all(line.isprintable() and "lost" not in line for line in lines), lines
    assert sum("refused a connection of tcp://127.0.0.1" in line for line in lines) == 5, lines
    more = "295 more connections were refused within a minute"
    assert sum(line.endswith(more) for line in lines) == 1, lines
    assert sum(line.endswith("it got SIGTERM") for line in lines) == 1, lines
    assert len(lines) == 7, lines


def test_what_he_says_to_a_client_is_one_harmless_line(key_file: str) -> None:
    with stranger("refuse", "0", NOISE) as impostor:
        port = impostor.number("port")
        done = status(port)
    assert done.returncode == 1 and done.stderr[:-1].isprintable(), done
    assert r"x\x1b[1A\x1b]0;owned\x07\r\nhost 1" in done.stderr
    assert done.stderr.endswith(f"(at tcp://127.0.0.1:{port})\n")
