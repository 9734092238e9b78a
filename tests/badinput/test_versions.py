"""Other versions: another patch version joins, everything else is told what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from helpers import ByHand, RunScript
from program import Program

import dsmproc._version
from dsmproc._net import wire
from dsmproc.errors import ProtocolError

PYTHON = sys.version_info
MAJOR, MINOR, PATCH = (int(part) for part in dsmproc._version.VERSION.split("."))

# What an agent of another version says, in place of what this one would.
AS_OF = """
import dsmproc._version, sys
from dsmproc._net import wire
wire.VERSION = {version!r}
wire.PROTOCOL = {protocol}
wire.sys = type("sys", (), {{"version_info": type("version", (), {python})}})
from dsmproc.cli import main
sys.exit(main(sys.argv[1:]))
"""


def command_of(
    version: str = dsmproc._version.VERSION,
    python: tuple[int, int, int] = PYTHON[:3],
    protocol: int = wire.PROTOCOL,
) -> list[str]:
    """The command `dsmproc` as that version would run it."""
    fields = dict(zip(("major", "minor", "micro"), python, strict=True))
    text = AS_OF.format(version=version, python=fields, protocol=protocol)
    return [sys.executable, "-c", text]


OTHERS = {
    "a newer dsmproc": (
        command_of(version=f"{MAJOR}.{MINOR + 1}.0"),
        f"runs dsmproc {MAJOR}.{MINOR + 1}, the other side dsmproc {MAJOR}.{MINOR}: a cluster "
        "needs one minor version on all its hosts",
    ),
    "another major dsmproc": (
        command_of(version=f"{MAJOR + 1}.{MINOR}.{PATCH}"),
        f"runs dsmproc {MAJOR + 1}.{MINOR}, the other side dsmproc {MAJOR}.{MINOR}: ",
    ),
    "another Python": (
        command_of(python=(3, PYTHON.minor + 1, 0)),
        f"runs Python 3.{PYTHON.minor + 1}, the other side Python 3.{PYTHON.minor}: a cluster "
        "needs one minor version on all its hosts",
    ),
    "another protocol": (
        command_of(protocol=wire.PROTOCOL + 1),
        f"speaks protocol {wire.PROTOCOL + 1}, the other side protocol {wire.PROTOCOL}: ",
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_version_is_refused(by_hand: ByHand, program: Program, what: str) -> None:
    command, sentence = OTHERS[what]
    for arguments in (
        ["agent", "--join", by_hand.address],
        ["status", "--address", by_hand.address],
        ["run", "--address", by_hand.address, os.devnull],
    ):
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 1, done
        assert sentence in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert len(by_hand.status()["hosts"]) == 2
    program.end()


@pytest.fixture
def other_agent(by_hand: ByHand) -> Iterator[subprocess.Popen[bytes]]:
    """Its patch versions, of dsmproc and of Python, are not ours."""
    command = command_of(f"{MAJOR}.{MINOR}.{PATCH + 7}", (3, PYTHON.minor, PYTHON.micro + 7))
    agent = subprocess.Popen([*command, "agent", "--join", by_hand.address], cwd="/")
    yield agent
    agent.terminate()
    agent.wait(20)


def test_another_patch_version_works(
    by_hand: ByHand, other_agent: subprocess.Popen[bytes], run_script: RunScript
) -> None:
    by_hand.wait_for(2)
    Program(by_hand, run_script).end()
    assert other_agent.poll() is None


def interpreters() -> list[str]:
    """Other minor versions of Python that this machine has."""
    found = []
    root = os.path.expanduser("~/.pyenv/versions")
    for name in sorted(os.listdir(root)) if os.path.isdir(root) else []:
        major, minor = (int(part) for part in name.split(".")[:2])
        if (3, 10) <= (major, minor) != (PYTHON.major, PYTHON.minor):
            found.append(os.path.join(root, name, "bin", "python"))
    return found


HELLO_OF = "import sys; sys.path.insert(0, {root!r}); {stub}from dsmproc._net import wire; "
# Without the package's own __init__, which needs cloudpickle.
STUB = "import types; p = types.ModuleType('dsmproc'); p.__path__ = [{path!r}]; "
STUB += "sys.modules['dsmproc'] = p; "


@pytest.mark.parametrize("python", interpreters(), ids=os.path.dirname)
def test_a_real_other_python_is_refused(by_hand: ByHand, python: str) -> None:
    root = os.path.dirname(os.path.dirname(dsmproc._version.__file__))
    stub = STUB.format(path=os.path.join(root, "dsmproc"))
    text = HELLO_OF.format(root=root, stub=stub) + (
        "wire.connect_tcp(wire.parse_address(sys.argv[1]), 'query', wire.read_key(sys.argv[2]))"
    )
    done = subprocess.run(
        [python, "-c", text, by_hand.address, by_hand.key_file],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "ProtocolError: the connecting side runs Python 3." in done.stderr
    assert "a cluster needs one minor version" in done.stderr


def test_the_listening_side_is_named_when_it_is_the_other() -> None:
    hello = bytearray(wire.hello(""))
    hello[8] += 1
    client = wire.client_side("query", b"k" * 32)
    next(client)
    with pytest.raises(ProtocolError, match="the listening side runs Python"):
        client.send(bytes(hello))
