"""Head and agents as plain commands, and who may join."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import pytest
from helpers import ByHand, RunScript, alive, eventually, send

from dsmproc._net import wire
from dsmproc.errors import AuthenticationError, ProtocolError

SCRIPT = """
import sys
import dsmproc as mp

def work(number):
    print("work", number, "on", mp.current_host())

processes = [mp.Process(target=work, args=(i,)) for i in range(len(mp.hosts()))]
for process in processes:
    process.start()
for process in processes:
    process.join()
print("hosts", mp.hosts(), [process.exitcode for process in processes])
"""


def test_a_program_on_a_running_cluster(by_hand: ByHand, run_script: RunScript) -> None:
    by_hand.agent()
    by_hand.agent()
    by_hand.wait_for(3)
    for _ in range(2):  # the cluster outlives the program
        result = run_script(SCRIPT, address=by_hand.address).check()
        assert result.lines()[-1] == "hosts [0, 1, 2] [0, 0, 0]"
        assert sorted(line.split()[-1] for line in result.lines()[:-1]) == ["0", "1", "2"]
    status = by_hand.status()
    assert [host["processes"] for host in status["hosts"]] == [0, 0, 0]


def test_init_with_an_address(by_hand: ByHand, run_script: RunScript) -> None:
    text = "import dsmproc\ndsmproc.init(__import__('sys').argv[1])\n" + SCRIPT
    result = run_script(text, local=None, args=[by_hand.address]).check()
    assert result.lines()[-1] == "hosts [0] [0]"


def test_a_killed_driver_leaves_nothing_on_a_running_cluster(
    by_hand: ByHand, run_script: RunScript
) -> None:
    by_hand.agent()
    by_hand.wait_for(2)
    running = run_script.start(
        """
        import os, time
        import dsmproc as mp

        def sleep():
            print(f"worker{mp.current_host()}={os.getpid()}", flush=True)
            time.sleep(300)

        processes = [mp.Process(target=sleep) for _ in range(2)]
        for process in processes:
            process.start()
        print(f"driver={os.getpid()}", flush=True)
        time.sleep(300)
        """,
        address=by_hand.address,
    )
    pids = [running.number(f"worker{number}") for number in range(2)]
    send(running.number("driver"))
    assert running.wait(20).code == -9
    for pid in pids:
        eventually(lambda pid=pid: not alive(pid), what="the end of a worker")
    status = by_hand.status()
    assert status["sessions"] == 0 and len(status["hosts"]) == 2


def test_a_terminated_agent_says_goodbye(by_hand: ByHand) -> None:
    agent = by_hand.agent()
    by_hand.wait_for(2)
    agent.terminate()
    assert agent.wait(20) == 0
    by_hand.wait_for(1)


def test_sockets_are_loopback_and_private(by_hand: ByHand) -> None:
    by_hand.agent()
    by_hand.wait_for(2)
    for host in by_hand.status()["hosts"]:
        assert host["address"][0] == "127.0.0.1"
        assert os.stat(host["socket"]).st_mode & 0o777 == 0o600
        assert os.stat(os.path.dirname(host["socket"])).st_mode & 0o777 == 0o700


def test_another_key_is_refused_on_every_listener(by_hand: ByHand) -> None:
    addresses = [wire.parse_address(by_hand.address)]
    addresses += [tuple(host["address"]) for host in by_hand.status()["hosts"]]
    for address in addresses:
        for purpose in ("control", "console", "query", "spawn", "client", "engine-fast"):
            with pytest.raises(AuthenticationError, match="same cluster key"):
                wire.connect_tcp(address, purpose, b"another key" * 4)


def test_an_unknown_purpose_is_refused(by_hand: ByHand) -> None:
    key = wire.read_key(by_hand.key_file)
    with pytest.raises(ProtocolError, match="serves no connections for 'nonsense'"):
        wire.connect_tcp(wire.parse_address(by_hand.address), "nonsense", key)


def test_silent_and_rude_peers_stand_in_nobodys_way(by_hand: ByHand) -> None:
    address = wire.parse_address(by_hand.address)
    rude = []
    for data in (b"", b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 64, b"\x00" * 5):
        sock = socket.create_connection(address)
        sock.sendall(data)
        rude.append(sock)
    assert len(by_hand.status()["hosts"]) == 1
    for sock in rude:
        sock.close()


def test_a_key_file_that_others_can_read_is_refused(by_hand: ByHand) -> None:
    os.chmod(by_hand.key_file, 0o644)
    done = subprocess.run(
        [sys.executable, "-m", "dsmproc", "status", "--address", by_hand.address],
        capture_output=True,
        text=True,
        check=False,
    )
    os.chmod(by_hand.key_file, 0o600)
    assert done.returncode == 1
    assert "can be read by others" in done.stderr


def can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="netns: needs a mount namespace")
def test_modules_come_to_hosts_that_have_never_seen_them(
    by_hand: ByHand, run_script: RunScript
) -> None:
    """Host 1 has an empty folder where the script is: files, packages, zips, late imports."""
    hide = f'mount -t tmpfs none {run_script.folder} && exec "$@"'
    by_hand.agent("unshare", "-m", "sh", "-c", hide, "sh")
    by_hand.wait_for(2)
    run_script.write(
        "beside.py", "import late_one\nVALUE = 1\ndef fail():\n    raise OSError('x')\n"
    )
    run_script.write("late_one.py", "VALUE = 2\n")
    run_script.write("pack/__init__.py", "from .inner import VALUE\n")
    run_script.write("pack/inner.py", "VALUE = 3\n")
    run_script.write("space/deep/leaf.py", "VALUE = 4\n")  # namespace packages
    import zipfile

    with zipfile.ZipFile(os.path.join(run_script.folder, "archive.zip"), "w") as archive:
        archive.writestr("zipped.py", "VALUE = 5\n")
    result = run_script(
        """
        import os, sys, traceback
        sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "archive.zip"))
        import beside
        import dsmproc as mp

        def work():
            assert not os.path.exists(os.path.join(sys.path[0], "beside.py"))
            import pack, space.deep.leaf, zipped
            values = [beside.VALUE, beside.late_one.VALUE, pack.VALUE, space.deep.leaf.VALUE,
                      zipped.VALUE]
            print("values", values, "on", mp.current_host(), os.getcwd() != sys.argv[1])
            try:
                import no_such_module_anywhere
            except ModuleNotFoundError as error:
                print("missing", error.name)
            try:
                beside.fail()
            except OSError:
                print("source line", "raise OSError('x')" in traceback.format_exc())

        process = mp.Process(target=work)
        process._dsmproc_host = 1
        process.start()
        process.join()
        print(process.exitcode)
        """,
        address=by_hand.address,
        args=[run_script.folder],
    ).check()
    assert result.lines() == [
        "values [1, 2, 3, 4, 5] on 1 False",
        "missing no_such_module_anywhere",
        "source line True",
        "0",
    ], result.err
