"""One run of a case, with what works against it, and how it ended."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import grammar, history, known, losses, stacks, users
from .configuration import Configuration
from .marks import MARK, end_all, marked

ROOT = Path(__file__).resolve().parents[2]
STILL = 60.0  # seconds in which no worker wrote down anything: it hangs
LONGEST = 300.0
PATIENCE = 10.0  # for what is ending to end
LOST = re.compile(r"was lost|LostError|LostChannel|lost without")
SHOWN = 12  # wrong sentences, and last lines of standard error


class Outcome(NamedTuple):
    verdict: str  # right, wrong, hang, false loss, error, left behind
    text: str = ""
    turns: int = 0
    moves: int = 0  # of a record to another host: what was tried at all
    seconds: float = 0.0


def run(case: str, configuration: Configuration, plain: bool = False) -> Outcome:
    """`plain`: with the standard library."""
    began, mark = time.monotonic(), uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        try:
            how, text = _run(case, configuration, plain, folder, mark)
            left = _what_is_left(folder, mark) if how != "hang" else ""
        finally:  # Ctrl-C, for one, does not reach what has a session of its own
            end_all(mark)
        entries, wrong = history.load(folder)
        if how in ("right", "error"):
            wrong += _check(case, entries)
    if how == "right" and not entries:
        how, text = "error", "nothing was tried"
    if how in ("right", "error") and wrong:
        how = "wrong"
    if how == "right" and left:
        how = "left behind"
    text = "\n".join(filter(None, [*wrong[:SHOWN], text, left]))
    seconds = time.monotonic() - began
    return Outcome(how, text, len(entries), history.moves(entries), seconds)


def _check(case: str, entries: list[history.Entry]) -> list[str]:
    if case.startswith(losses.PREFIX):
        return losses.check(entries)
    return history.check(entries, grammar.sizes(known.program(case)))


def _run(
    case: str, configuration: Configuration, plain: bool, folder: str, mark: str
) -> tuple[str, str]:
    loses = case.startswith(losses.PREFIX)
    command = ["-m", "tests.soak.losses" if loses else "tests.soak.program", case, folder]
    if not plain:
        command = ["-m", "dsmproc", "run", "--local", str(configuration.hosts), *command]
    limit = f"{2 * LONGEST:.0f}"  # should we be killed
    command = ["timeout", "--kill-after=5", limit, sys.executable, *command]
    temporary = os.path.join(folder, "tmp")
    os.mkdir(temporary)
    if configuration.user == "other":
        command = [*users.command(), *command]
        for path in (folder, temporary):
            os.chown(path, users.UID, users.UID)
    environment = {
        **os.environ,
        **configuration.environment(),
        **stacks.ENVIRONMENT,
        MARK: mark,
        "HOME": temporary,
        "TMPDIR": temporary,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    output = os.path.join(folder, "output")
    with open(output, "wb") as file, _against(configuration, mark, case):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
        hung = _wait(process, folder)
    found = stacks.dump(mark) if hung else ""
    if hung:
        end_all(mark)
        process.wait()
    text = Path(output).read_text(errors="replace")
    if hung:
        return "hang", f"{hung}\n{found}\n{text}"
    return (losses.verdict if loses else verdict)(process.returncode, text)


def verdict(code: int, text: str) -> tuple[str, str]:
    """Of a program that ended: what its exit code and its output come to."""
    tail = "\n".join([f"exit code {code}", *text.splitlines()[-SHOWN:]])
    if LOST.search(text):
        return "false loss", tail
    return ("error", tail) if code != 0 or "Traceback" in text else ("right", "")


@contextlib.contextmanager
def _against(configuration: Configuration, mark: str, case: str) -> Iterator[None]:
    """Processor hogs, and the program that stops and continues processes. They end with us."""
    commands = [["hogs"]] * configuration.hogs
    if configuration.jitter:
        commands = [*commands, ["jitter", mark, case]]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"tests.soak.{name}", *arguments],
            stdin=subprocess.PIPE,
            cwd=ROOT,
        )
        for name, *arguments in commands
    ]
    try:
        yield
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        codes = [process.wait(PATIENCE) for process in processes]
    if any(codes):
        raise RuntimeError(f"{commands} ended with {codes}: the run was not what it should be")


def _wait(process: subprocess.Popen[bytes], folder: str) -> str:
    """Until it ends; or why it is taken to hang."""
    began = changed = time.monotonic()
    size = -1
    while process.poll() is None:
        now = time.monotonic()
        written = sum(entry.stat().st_size for entry in os.scandir(folder))
        if written != size:
            size, changed = written, now
        if now - changed > STILL:
            return f"nothing happened for {STILL:.0f} s"
        if now - began > LONGEST:
            return f"it did not end within {LONGEST:.0f} s"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
    return ""


def _what_is_left(folder: str, mark: str) -> str:
    """What the run has not cleared away."""
    until = time.monotonic() + PATIENCE
    while (left := marked(mark)) and time.monotonic() < until:
        time.sleep(0.02)
    said = [f"left process {pid}: {stacks.read(pid, 'cmdline')}" for pid in left]
    end_all(mark)
    temporary = os.path.join(folder, "tmp")
    said += [
        f"left file {os.path.join(at, name)}"
        for at, _, names in os.walk(temporary)
        for name in names
    ]
    return "\n".join(said)
