"""Scripts under `dsmproc run`, as tests start them."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any

TIMEOUT = 60.0


@dataclasses.dataclass
class Result:
    """How a script ended."""

    code: int
    out: str
    err: str

    def lines(self) -> list[str]:
        return self.out.splitlines()

    def check(self) -> Result:
        assert self.code == 0, f"exit code {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"
        return self


class Running:
    """A script that runs now."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int = -1) -> None:
        self.process = process
        self.pid = process.pid
        self._out = b""
        self._terminal = terminal  # the other side of the terminal that it runs in

    def type(self, keys: bytes) -> None:
        os.write(self._terminal, keys)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1

    def read_until(self, text: str, timeout: float = TIMEOUT) -> str:
        """What the script has written, once that contains `text`."""
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        deadline = time.monotonic() + timeout
        while text.encode() not in self._out:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([fd], [], [], max(left, 0))
            assert ready, f"no {text!r} within {timeout} s, only {self._out!r}"
            data = os.read(fd, 1 << 16)
            assert data, f"the script ended without {text!r}: {self.wait()}"
            self._out += data
        return self._out.decode()

    def line(self, begin: str) -> str:
        """The whole line of the output that begins so."""
        text = self.read_until(begin)
        while "\n" not in text.split(begin, 1)[1]:
            data = os.read(self.process.stdout.fileno(), 1 << 16)  # type: ignore[union-attr]
            assert data, f"the script ended within a line: {self.wait()}"
            self._out += data
            text = self._out.decode()
        return begin + text.split(begin, 1)[1].splitlines()[0]

    def number(self, name: str) -> int:
        """The N of a line `name=N` in the output."""
        return int(self.line(f"{name}=").partition("=")[2].split()[0])

    def wait(self, timeout: float = TIMEOUT) -> Result:
        """Its end; a script that does not end is killed and fails the test."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            text = (self._out + out).decode(), err.decode()
            raise AssertionError(f"no end within {timeout} s\n{text[0]}\n{text[1]}") from None
        return Result(self.process.returncode, (self._out + out).decode(), err.decode())


class RunScript:
    """Runs the text of a script; the fixture `run_script` is one of these."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._running: list[Running] = []

    def __call__(self, text: str, *, timeout: float = TIMEOUT, **options: Any) -> Result:
        """Run to the end."""
        return self.start(text, **options).wait(timeout)

    def write(self, name: str, text: str) -> str:
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(text))
        return path

    def start(
        self,
        text: str,
        *,
        local: int | None = 3,
        address: str | None = None,
        args: Sequence[str] = (),
        env: dict[str, str] | None = None,
        options: Sequence[str] = (),
        cwd: str | None = None,
        terminal: bool = False,
        ignore: Sequence[signal.Signals] = (),
    ) -> Running:
        """Start it; `local=None` runs it with plain Python, `address` on a cluster by hand."""
        path = self.write("script.py", text)
        command = [sys.executable]
        if address is not None:
            command += ["-m", "dsmproc", "run", "--address", address, *options]
        elif local is not None:
            command += ["-m", "dsmproc", "run", "--local", str(local), *options]
        ours, theirs = pty.openpty() if terminal else (-1, -1)
        process = subprocess.Popen(
            [*command, path, *args],
            stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            cwd=cwd or self.folder,
            start_new_session=True,
            preexec_fn=take_terminal if terminal else (lambda: ignored(ignore)) if ignore else None,
        )
        if terminal:
            os.close(theirs)
        running = Running(process, ours)
        self._running.append(running)
        return running

    def end(self) -> None:
        for running in self._running:
            running.close()


def ignored(signals: Sequence[signal.Signals]) -> None:
    for number in signals:
        signal.signal(number, signal.SIG_IGN)


def take_terminal() -> None:
    """In a child that leads a session: its standard input is the terminal that controls it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] != b"Z"
    return False


def eventually(condition: Callable[[], Any], timeout: float = 10.0, what: str = "") -> Any:
    """Poll until the condition holds; its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout} s: {what or condition}"
        time.sleep(0.01)


def commands_of(supervisor: int) -> dict[str, int]:
    """name -> pid of the master, the agents and the driver of a running supervisor."""
    found = {}
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if int(fields[1]) != supervisor:
                continue
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().decode().split("\0")
            if "head" in words:
                found["master"] = int(name)
            elif "agent" in words:
                found[f"agent{words[words.index('--host') + 1]}"] = int(name)
            else:
                found["driver"] = int(name)
    return found


def send(pid: int, number: int = signal.SIGKILL) -> None:
    """SIGSTOP: until all of its threads stand still; the kernel stops them one by one."""
    os.kill(pid, number)
    while number == signal.SIGSTOP and _running(pid):
        time.sleep(0.001)


def _running(pid: int) -> bool:
    """A thread that is parked in a kernel's copy (D) stops only behind that."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/stat", encoding="utf-8") as file:
            if file.read().rpartition(")")[2].split()[0] not in "TtZXD":
                return True
    return False


def run_dsmproc(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    return run_python("-m", "dsmproc", *arguments, **settings)


def run_python(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class ByHand:
    """A cluster of plain commands, as somebody with several machines would start them."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.key_file = os.path.join(folder, "key")
        with open(os.open(self.key_file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("0123456789abcdef" * 4)
        os.environ["DSMPROC_AUTHKEY_FILE"] = self.key_file
        self._processes: list[subprocess.Popen[bytes]] = []
        self.head = self.command("head", "--bind", "127.0.0.1:0", "--slots", "2")
        assert self.head.stdout is not None
        self.address = self.head.stdout.readline().decode().split()[-1]
        self.wait_for(1)

    def command(self, *arguments: str, prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "dsmproc", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
        self._processes.append(process)
        return process

    def agent(self, *prefix: str) -> subprocess.Popen[bytes]:
        return self.command("agent", "--join", self.address, prefix=prefix)

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "dsmproc", "status", "--address", self.address, "--json"],
            capture_output=True,
            timeout=TIMEOUT,
            check=True,
        )
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def wait_for(self, count: int) -> None:
        eventually(
            lambda: sum(host["ready"] for host in self.status()["hosts"]) == count,
            what=f"{count} hosts",
        )

    def end(self) -> None:
        """SIGTERM to the head ends all."""
        os.environ.pop("DSMPROC_AUTHKEY_FILE", None)
        os.unlink(self.key_file)
        if self.head.poll() is None:
            self.head.terminate()
        for process in self._processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
