"""`dsmproc run --hosts` and `init(hosts=...)` over real OpenSSH servers, on hosts of their own."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Iterator

import hostnet
import pytest
import sshd
from helpers import Result, Running, eventually

import dsmproc

PYTHON = sys.executable

SQUARES = """
    import os, sys
    import dsmproc as mp

    def keep(given):
        global barrier
        barrier = given

    def square(x):
        barrier.wait(60)  # each worker takes one
        return x * x, mp.current_host(), os.uname().nodename

    if __name__ == "__main__":
        with mp.Pool(6, keep, (mp.Barrier(6),)) as pool:
            done = pool.map(square, range(6), chunksize=1)
        print([value for value, *_ in done] == [x * x for x in range(6)])
        print(sorted({(host, name) for _, host, name in done}))
"""
SLEEPERS = """
    import os, time
    import dsmproc as mp

    def sleep(queue):
        queue.put(mp.current_host())
        time.sleep(300)

    if __name__ == "__main__":
        queue = mp.Queue()
        processes = [mp.Process(target=sleep, args=(queue,)) for _ in range(6)]
        for process in processes:
            process.start()
        said = [queue.get() for _ in processes]
        print(f"driver={os.getpid()}", flush=True)
        try:
            time.sleep(300)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
"""


class SshHosts:
    """Three hosts; the driver's is host 0, and its ssh knows the others as b and c."""

    def __init__(self, network: hostnet.Network) -> None:
        self.hosts = network.hosts
        self.driver = network.hosts[0]
        self.ssh = sshd.Ssh(self.driver)
        for host, name in zip(self.hosts[1:], "bc", strict=True):
            self.ssh.serve(host, name)
        self.running: list[Running] = []

    def start(self, text: str, *options: str, plain: bool = False) -> Running:
        path = self.driver.write(f"{self.driver.work}/script.py", textwrap.dedent(text))
        command = [path] if plain else ["-m", "dsmproc", "run", "--slots", "2", *options, path]
        running = Running(self.driver.popen(PYTHON, *command, env=self.ssh.env))
        self.running.append(running)
        return running

    def run(self, text: str, *options: str, plain: bool = False) -> Result:
        return self.start(text, *options, plain=plain).wait()

    def nothing_runs(self) -> None:
        """No process of ours is left on any host, and nothing in their temporary folders."""
        for host in self.hosts:
            eventually(lambda host=host: not _ours(host), timeout=15, what=f"{host.name} at rest")
            left = [name for name in os.listdir(host.path("/tmp")) if name.startswith("dsmproc")]
            assert left == []

    def end(self) -> None:
        for running in self.running:
            running.close()
        self.ssh.end()


def _ours(host: hostnet.Host) -> list[str]:
    """The command lines on a host that are about dsmproc."""
    return [line for line in host.commands() if "dsmproc" in line and "nsenter" not in line]


@pytest.fixture
def ssh_hosts(network: hostnet.Network) -> Iterator[SshHosts]:
    reason = sshd.why_not()
    if reason is not None:
        pytest.skip(reason)
    made = SshHosts(network)
    yield made
    made.end()


def test_one_command_uses_hosts_over_ssh(ssh_hosts: SshHosts) -> None:
    result = ssh_hosts.run(SQUARES, "--hosts", "b,c").check()
    places = [(0, "host0"), (1, "host1"), (2, "host2")]
    assert result.lines() == ["True", str(places)], result.err
    assert f"head at tcp://{ssh_hosts.driver.address}:" in result.err
    ssh_hosts.nothing_runs()


def test_init_starts_hosts_over_ssh(ssh_hosts: SshHosts) -> None:
    text = SQUARES.replace(
        "with mp.Pool", "mp.init(hosts=['b', 'c'], slots=2)\n        with mp.Pool"
    )
    result = ssh_hosts.run(text, plain=True).check()
    assert result.lines()[0] == "True" and "host2" in result.lines()[1], result.err
    ssh_hosts.nothing_runs()


def test_agents_listen_where_they_reach_the_head(ssh_hosts: SshHosts) -> None:
    script = """
        import dsmproc as mp
        from dsmproc import cluster
        print([host["address"][0] for host in cluster.client().ask("hosts")])
    """
    result = ssh_hosts.run(script, "--hosts", "b,c").check()
    assert result.out.strip() == str([host.address for host in ssh_hosts.hosts])


def test_a_server_on_loopback_stays_on_loopback(network: hostnet.Network) -> None:
    """The whole cluster is on one machine then, and no address of it is reachable from others."""
    host = network.hosts[0]
    ssh = sshd.Ssh(host)
    ssh.serve(host, "self", "127.0.0.1")
    path = host.write(f"{host.work}/script.py", textwrap.dedent(SQUARES))
    command = [PYTHON, "-m", "dsmproc", "run", "--hosts", "self", "--slots", "3", path]
    try:
        result = host.run(*command, env=ssh.env).check()
    finally:
        ssh.end()
    assert result.lines() == ["True", "[(0, 'host0'), (1, 'host0')]"], result.err
    assert "head at tcp://127.0.0.1:" in result.err


def test_the_key_is_in_no_argument_list(ssh_hosts: SshHosts) -> None:
    text = SLEEPERS.replace(
        "driver={os.getpid()}", "key={open(os.environ['DSMPROC_AUTHKEY_FILE']).read()}"
    )
    running = ssh_hosts.start(text, "--hosts", "b,c")
    key = running.line("key=").partition("=")[2].strip()
    lines = [line for host in ssh_hosts.hosts for line in host.commands()]
    assert len(key) >= 32 and sum("--over-ssh" in line for line in lines) >= 2
    assert not any(key in line for line in lines)
    for host in ssh_hosts.hosts[1:]:
        assert not os.path.exists(host.path(os.path.join(hostnet.HOME, ".dsmproc")))
    _end(running, signal.SIGTERM)
    ssh_hosts.nothing_runs()


def _end(running: Running, number: int) -> Result:
    """A signal for the supervisor inside."""
    os.kill(hostnet.inner(running.process), number)
    return running.wait(30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_supervisor_ends_the_agents(ssh_hosts: SshHosts, number: int) -> None:
    running = ssh_hosts.start(SLEEPERS, "--hosts", "b,c")
    running.number("driver")
    assert all(any("--over-ssh" in line for line in _ours(host)) for host in ssh_hosts.hosts[1:])
    before = time.monotonic()
    _end(running, number)
    ssh_hosts.nothing_runs()
    assert time.monotonic() - before < 15


def test_a_killed_ssh_is_a_lost_host(ssh_hosts: SshHosts) -> None:
    script = """
        import sys, time
        import dsmproc as mp

        if __name__ == "__main__":
            process = mp.Process(target=time.sleep, args=(300,))
            process._dsmproc_host = 2
            process.start()
            print("started=1", flush=True)
            try:
                process.join()
            except mp.HostLostError as error:
                print(error)
            while mp.hosts() != [0, 1]:
                time.sleep(0.01)
    """
    running = ssh_hosts.start(script, "--hosts", "b,c")
    running.number("started")
    [ssh] = [pid for pid, line in ssh_hosts.driver.processes() if "-- c exec" in line]
    os.kill(ssh, signal.SIGKILL)
    result = running.wait().check()
    assert "host 2" in result.lines()[1], result
    assert "host c: its agent was killed by SIGKILL" in result.err
    ssh_hosts.nothing_runs()


def _other_version(host: hostnet.Host) -> str:
    """A Python on that host whose dsmproc says that it is another version."""
    source = os.path.dirname(os.path.abspath(dsmproc.__file__))
    shutil.copytree(source, host.path("/srv/other/dsmproc"))
    host.write("/srv/other/dsmproc/_version.py", 'VERSION = "7.8.9"\n')
    wrapper = f'#!/bin/sh\nPYTHONPATH=/srv/other exec {PYTHON} "$@"\n'
    return host.write("/srv/other/python", wrapper, 0o755)


MUTE = """
import socket
server = socket.create_server(("0.0.0.0", 2222))
print("listens", flush=True)
taken = [server.accept() for _ in range(10)]
"""


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("unknown", "host nobody.invalid: no route to nobody.invalid"),
        ("unreachable", "host gone: ssh: connect to host 192.0.2.99 port 22: No route to host"),
        ("refused", "host shut: ssh: connect to host 192.0.2.1 port 22: Connection refused"),
        ("silent", "host mute: Connection "),
        ("key", "host b: root@192.0.2.2: Permission denied (publickey)"),
        ("python", "host c has no Python at /nowhere/python (--python says where)"),
        ("dsmproc", "has no dsmproc: install it there"),
        ("version", "ended with exit code 1: the connecting side runs dsmproc 7.8"),
    ],
)
def test_what_is_missing_is_said_with_the_hosts_name(
    ssh_hosts: SshHosts, what: str, said: str
) -> None:
    ssh, (_, b, c) = ssh_hosts.ssh, ssh_hosts.hosts
    options = ["--hosts", "c"]
    if what == "unknown":
        options = ["--hosts", "nobody.invalid"]
    elif what == "unreachable":
        ssh.name("gone", "192.0.2.99")
        options = ["--hosts", "b,gone"]
    elif what == "refused":
        ssh.name("shut", ssh_hosts.driver.address)
        options = ["--hosts", "b,shut"]
    elif what == "silent":
        ssh.name("mute", f"{b.address}\n    Port 2222")
        ssh_hosts.running.append(Running(b.popen(PYTHON, "-c", MUTE)))
        ssh_hosts.running[-1].read_until("listens")
        options = ["--hosts", "c,mute"]
    elif what == "key":
        b.write(f"{sshd.FOLDER}/authorized_keys", "")
        options = ["--hosts", "b,c"]
    elif what == "python":
        options += ["--python", "/nowhere/python"]
    elif what == "dsmproc":
        options += ["--python", os.path.join(sys.base_prefix, "bin", "python3")]
    elif what == "version":
        options += ["--python", _other_version(c)]
    before = time.monotonic()
    result = ssh_hosts.run("print('never')", *options)
    assert result.code == 1 and result.out == "", result
    sentences = [line for line in result.err.splitlines() if said in line]
    begins = ("dsmproc: host ", "dsmproc: the cluster did not start: host ")
    assert sentences and sentences[0].startswith(begins), result.err
    assert "Traceback" not in result.err
    assert time.monotonic() - before < 30
    ssh_hosts.nothing_runs()
