"""What locks cost on the network, counted on the device and not by ourselves."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import time
import dsmproc as mp

def packets():
    with open("/proc/net/dev") as file:
        for line in file:
            if line.strip().startswith("lo:"):
                return int(line.split()[2])

def work(lock, rlock):
    for each in (lock, rlock):
        with each:  # the token comes over
            pass
    time.sleep(0.5)  # late acknowledgements
    before = packets()
    for _ in range(100_000):
        lock.acquire()
        lock.release()
    with rlock:
        for _ in range(1000):
            rlock.acquire()
            rlock.release()
    sent = packets() - before
    assert before > 100, "the device counts"
    print(f"host {mp.current_host()}: {sent} packets")

if __name__ == "__main__":
    child = mp.Process(target=work, args=(mp.Lock(), mp.RLock()))
    child.start()
    child.join()
    assert child.exitcode == 0
"""


def alone() -> list[str]:
    """A command in a network of its own."""
    command = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "-r"]
    if subprocess.run([*command, "ip", "link", "set", "lo", "up"], check=False).returncode:
        pytest.skip("netns: no network namespaces here")
    return [*command, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def test_a_lock_taken_again_sends_nothing(tmp_path: object) -> None:
    script = os.path.join(str(tmp_path), "script.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(SCRIPT)
    done = subprocess.run(
        [*alone(), sys.executable, "-m", "dsmproc", "run", "--local", "3", script],
        env={
            **os.environ,
            "DSMPROC_TICK": "0",
            "DSMPROC_HEARTBEAT": "600",  # no beat falls into the count
            "DSMPROC_PLACE": "remote",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "host 1: 0 packets\n", done.stdout
