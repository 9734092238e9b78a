"""Arguments, addresses and settings that make no sense: one sentence, and nothing was started."""

from __future__ import annotations

import os
import socket

import pytest
from helpers import ByHand, RunScript, run_dsmproc
from program import Program

import dsmproc
from dsmproc import _settings, cli
from dsmproc._memory.engine import MAX_HOSTS

ARGUMENTS = [
    (["frobnicate"], "invalid choice: 'frobnicate'"),
    (["run", "--local", "0", os.devnull], "argument --local: '0' is no number of at least 1"),
    (["run", "--local", "-1", os.devnull], "argument --local: '-1' is no number of at least 1"),
    (["run", "--local", "many", os.devnull], "argument --local: 'many' is no number of at least 1"),
    (["run", "--local", "257", os.devnull], "257 hosts are more than 256"),
    (["run", "--local", "2", "--slots", "0", os.devnull], "argument --slots: '0' is no number"),
    (["run", "--local", "2"], "required: SCRIPT"),
    (["run", "--local", "1", "--address", "h:1", os.devnull], "not allowed with argument"),
    (["agent"], "required: --join"),
    (["agent", "--join", "h:1", "--slots", "x"], "argument --slots: 'x' is no number"),
    (["head", "--slots", "1.5"], "argument --slots: '1.5' is no number of at least 1"),
]


@pytest.mark.parametrize(("arguments", "sentence"), ARGUMENTS, ids=lambda a: " ".join(a)[:30])
def test_bad_arguments(arguments: list[str], sentence: str) -> None:
    done = run_dsmproc(*arguments)
    assert done.returncode == 2 and not done.stdout
    assert sentence in done.stderr and "Traceback" not in done.stderr


ADDRESSES = {
    "somewhere": "an address looks like tcp://HOST:PORT, not 'somewhere'",
    "tcp://somewhere": "an address looks like tcp://HOST:PORT, not 'tcp://somewhere'",
    "http://somewhere:80": "an address looks like tcp://HOST:PORT",
    "h:": "an address looks like tcp://HOST:PORT",
    ":80": "an address looks like tcp://HOST:PORT",
    "h:-1": "an address looks like tcp://HOST:PORT",
    "h:٣": "an address looks like tcp://HOST:PORT",
    "::1:80": "an address looks like tcp://HOST:PORT",
    "[::1:80": "an address looks like tcp://HOST:PORT",
    "h:65536": "there is no port 65536",
    "no-such-host.invalid:80": "nobody can be reached at tcp://no-such-host.invalid:80: ",
    "127.0.0.1:1": "nobody can be reached at tcp://127.0.0.1:1: Connection refused",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_bad_addresses(key_file: str, address: str) -> None:
    commands = [["status", "--address", address], ["agent", "--join", address]]
    commands += [["run", "--address", address, os.devnull]]
    for done in [run_dsmproc(*command) for command in commands] + [
        run_dsmproc("status", DSMPROC_ADDRESS=address)
    ]:
        assert done.returncode == 1, done
        assert ADDRESSES[address] in done.stderr and done.stderr.count("\n") == 1, done.stderr


SETTINGS = {
    "DSMPROC_HOME": "DSMPROC_HOME=foo is none of adaptive, migrating, barrier, first, fixed, ",
    "DSMPROC_PLACE": "DSMPROC_PLACE=foo is none of load, spread, remote, local",
    "DSMPROC_METHODS": "DSMPROC_METHODS=foo is none of cluster",
    "DSMPROC_FAULTS": "DSMPROC_FAULTS=foo is none of uffd, uffd-user, segv",
    "DSMPROC_CONSISTENCY": "DSMPROC_CONSISTENCY=foo is none of lrc, scc, erc, ec, sc",
    "DSMPROC_LOG": "DSMPROC_LOG=foo is none of debug, info, warning, error, critical",
    "DSMPROC_TICK": "DSMPROC_TICK=foo is no number of milliseconds",
    "DSMPROC_AUTHKEY_FILE": "the cluster's key cannot be read from foo: No such file",
    "DSMPROC_ADDRESS": "an address looks like tcp://HOST:PORT, not 'foo'",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_bad_settings(key_file: str, run_script: RunScript, name: str) -> None:
    commands = {"head": ["head"], "agent": ["agent", "--join", "127.0.0.1:1"]}
    if name == "DSMPROC_ADDRESS":
        commands = {"status": ["status"], "run": ["run", os.devnull]}
    elif name != "DSMPROC_AUTHKEY_FILE":
        commands["run"] = ["run", "--local", "1", os.devnull]
    for command in commands.values():
        done = run_dsmproc(*command, **{name: "foo"})
        assert done.returncode == 1 and not done.stdout, done
        assert SETTINGS[name] in done.stderr and done.stderr.count("\n") == 1, done.stderr
    driver = run_script(  # an exception there, which says the same
        "import dsmproc as mp\nmp.init()\n",
        local=None,
        env={"DSMPROC_ADDRESS": "127.0.0.1:1", name: "foo"},
    )
    assert driver.code == 1 and SETTINGS[name] in driver.err.splitlines()[-1]


@pytest.mark.parametrize("model", ["scc", "ec", "sc"])
def test_a_model_without_homeless_pages(model: str) -> None:
    why = f"home=homeless goes with the consistency models lrc and erc, not with {model}"
    settings = {"DSMPROC_HOME": "homeless", "DSMPROC_CONSISTENCY": model}
    for command in (["head"], ["run", "--local", "1", os.devnull]):
        done = run_dsmproc(*command, **settings)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"dsmproc: {why}\n")
    with pytest.raises(ValueError, match=why):
        dsmproc.init(local=1, home="homeless", consistency=model)
    for other in ("lrc", "erc", ""):
        _settings.check_settings({**settings, "DSMPROC_CONSISTENCY": other})


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e99", "1,5", "0x10"])
def test_bad_ticks(value: str) -> None:
    with pytest.raises(ValueError, match="no number of milliseconds"):
        _settings.check_settings({"DSMPROC_TICK": value})


def test_empty_settings_count_as_not_set() -> None:
    _settings.check_settings(dict.fromkeys([*_settings.CHOICES, "DSMPROC_TICK"], ""))


@pytest.mark.parametrize(
    "arguments",
    [
        {"local": 0},
        {"local": -3},
        {"local": "2"},
        {"local": 1.5},
        {"local": True},
        {"local": 1, "slots": 0},
        {"local": 1, "home": "foo"},
        {"local": 1, "consistency": "foo"},
        {"address": "foo"},
    ],
    ids=str,
)
def test_bad_arguments_of_init(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|is none of|looks like"):
        dsmproc.init(**arguments)  # type: ignore[arg-type]
    assert dsmproc.hosts() == [0]


def test_a_second_head_on_the_same_port(by_hand: ByHand, program: Program) -> None:
    done = run_dsmproc("head", "--bind", by_hand.address)
    assert done.returncode == 1 and not done.stdout
    sentence = f"dsmproc: cannot listen at {by_hand.address}: Address already in use\n"
    assert done.stderr == sentence
    program.end()


def test_an_address_that_is_not_this_machines() -> None:
    for address in ("192.0.2.1:0", "no-such-host.invalid:0"):
        done = run_dsmproc(
            "head", "--no-agent", "--bind", address, DSMPROC_AUTHKEY_FILE="/dev/null"
        )
        assert done.returncode == 1 and done.stderr.count("\n") == 1


def test_a_head_that_cannot_listen_says_where(by_hand: ByHand) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run_dsmproc("head", "--no-agent", "--bind", f"127.0.0.1:{port}")
    assert f"cannot listen at tcp://127.0.0.1:{port}: " in done.stderr
    done = run_dsmproc("agent", "--join", by_hand.address, "--bind", "192.0.2.1")
    assert done.returncode == 1
    assert "cannot listen at tcp://192.0.2.1:0: Cannot assign requested address" in done.stderr


def test_the_number_of_hosts_is_the_cores() -> None:
    assert cli.MAX_HOSTS == MAX_HOSTS
