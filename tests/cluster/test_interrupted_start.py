"""A worker that is interrupted while it starts is interrupted when it runs: not its interpreter is,
nor what it imports. It waits in the middle of its start until the signal has been sent."""

from __future__ import annotations

import pytest
from helpers import RunScript

SITE = """
import os
if "GATE" in os.environ:
    with open(os.environ["GATE"] + "/come", "w") as come:
        come.write(str(os.getpid()))
    open(os.environ["GATE"] + "/go").read()
"""

PROGRAM = """
import os, signal, sys, tempfile
import dsmproc as mp

SITE = {site!r}

def gate(folder):
    with open(folder + "/come", "w") as come:
        come.write(str(os.getpid()))
    open(folder + "/go").read()

class Gate:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return gate, (self.folder,)

def interrupt(folder, *arguments):
    process = mp.Process(target=print, args=("it ran", *arguments))
    process.start()
    with open(folder + "/come") as come:
        os.kill(int(come.read()), signal.SIGINT)
    open(folder + "/go", "w").close()
    process.join()
    print(process.exitcode)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name in ("come", "go"):
            os.mkfifo(f"{{folder}}/{{name}}")
        if {fresh}:
            with open(folder + "/sitecustomize.py", "w") as file:
                file.write(SITE)
            os.environ |= {{"PYTHONPATH": folder, "GATE": folder}}
            interrupt(folder)
        else:
            for _ in range(3):  # of which the last ones are forked
                interrupt(folder, Gate(folder))
"""


@pytest.mark.parametrize("fresh", [True, False])
def test_interrupted_while_it_starts(run_script: RunScript, fresh: bool) -> None:
    result = run_script(PROGRAM.format(site=SITE, fresh=fresh), local=1).check()
    count = 1 if fresh else 3
    assert result.lines() == count * ["1"]
    assert result.err.count("KeyboardInterrupt") == result.err.count("Process Process-") == count
    assert "Fatal" not in result.err
