"""The command `dsmproc`: a table of subcommands, each a function."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ._launch.local import Plan
from ._launch.words import age, say, size
from ._membership import default_key_file
from ._native import check_built
from ._net import wire
from ._settings import MAX_HOSTS, check_settings, misspelt, parse_memory, setting
from ._version import VERSION
from .errors import ProcessError

Arguments = argparse.Namespace
PURPOSE = "Programs of multiprocessing on many machines, with memory that they share."
SETTINGS = "All options, and the variables DSMPROC_*, are in docs/settings.md."
EXAMPLES = {
    "run": """
  dsmproc run --local 3 script.py --its-option    three hosts on this machine
  dsmproc run --hosts alpha,beta script.py        this machine, and two that ssh reaches
  dsmproc run --local 2 -m package.module         as python -m
  dsmproc run --local 2 --patch script.py         where libraries import multiprocessing""",
    "head": """
  dsmproc head --bind 192.0.2.1:7300              makes the key file if there is none""",
    "agent": """
  dsmproc agent --join 192.0.2.1:7300             with a copy of the head's key file""",
    "status": """
  dsmproc status --address 192.0.2.1:7300""",
    "doctor": """
  dsmproc doctor""",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="dsmproc", description=PURPOSE, epilog=f"COMMAND --help shows examples. {SETTINGS}"
    )
    parser.add_argument("--version", action="version", version=f"dsmproc {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary, options, run in COMMANDS:
        # A command without examples is not for people, and not listed.
        listed: dict[str, Any] = {"help": summary} if name in EXAMPLES else {}
        command = commands.add_parser(
            name,
            description=summary,
            epilog=f"examples:{EXAMPLES.get(name, '')}\n\n{SETTINGS}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **listed,
        )
        options(command)
        command.set_defaults(run=run)
    arguments = parser.parse_args(argv)
    try:
        check_settings(os.environ)
        for sentence in misspelt(os.environ):
            say(sentence)
        level = setting("DSMPROC_LOG").upper()
        logging.basicConfig(level=level, format="dsmproc[%(process)d]: %(message)s")
        code: int = arguments.run(arguments)
        return code
    except KeyboardInterrupt:
        return 130
    except (ProcessError, OSError, EOFError, ValueError, NotImplementedError) as error:
        say(str(error))
        return 1


# -- run --------------------------------------------------------------------------------------


def _run_options(command: argparse.ArgumentParser) -> None:
    where = command.add_mutually_exclusive_group()
    where.add_argument("--local", type=_hosts, metavar="N", help="N hosts on this machine")
    where.add_argument(
        "--hosts", type=_names, metavar="a,b,c", help="this machine and these, by ssh"
    )
    where.add_argument("--address", metavar="tcp://H:P", help="a cluster that runs already")
    command.add_argument("--slots", type=_count, metavar="K", help="processes per host")
    _memory_option(command)
    command.add_argument("--python", metavar="PATH", help="the interpreter on --hosts")
    command.add_argument(
        "--patch",
        action="store_true",
        help="`import multiprocessing` means dsmproc, in libraries too",
    )
    what = command.add_mutually_exclusive_group()
    what.add_argument("-m", dest="module", action="store_true", help="SCRIPT is a module's name")
    what.add_argument("-c", dest="code", action="store_true", help="SCRIPT is Python code")
    command.add_argument("script", metavar="SCRIPT", help="a file, or - for standard input")
    command.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="ARGS", help="the script's own"
    )


def _run(arguments: Arguments) -> int:
    how = ["-m"] if arguments.module else ["-c"] if arguments.code else []
    command = [sys.executable, *how, arguments.script, *arguments.arguments]
    address = arguments.address or os.environ.get("DSMPROC_ADDRESS") or ""
    plan = _plan(arguments)
    if plan is None and not address:
        raise ValueError("say where: --local N, --hosts a,b,c or --address tcp://H:P")
    check_built()  # before anything starts
    _limit(arguments)
    if arguments.patch:
        os.environ["DSMPROC_PATCH"] = "1"
    if not how and arguments.script != "-" and not os.path.exists(arguments.script):
        raise ValueError(f"there is no script {arguments.script!r}")
    from ._launch import program, supervisor

    if plan is None:
        key_file = os.environ.get("DSMPROC_AUTHKEY_FILE") or default_key_file()
        joining = wire.parse_address(address), wire.read_key(key_file), key_file, command
        return program.pass_on(asyncio.run(program.attached(*joining)))
    code = asyncio.run(supervisor.supervise(plan, command))
    return program.pass_on(code)


def _memory_option(command: argparse.ArgumentParser) -> None:
    text = "what pages may take on a host, as 500M (default: half of its memory)"
    command.add_argument("--memory", metavar="SIZE", help=text)


def _limit(arguments: Arguments) -> None:
    """Agents are told by the environment, on other machines too."""
    if arguments.memory:
        os.environ["DSMPROC_MEMORY"] = str(parse_memory(arguments.memory))


def _plan(arguments: Arguments) -> Plan | None:
    """The cluster that is to be started, if one is."""
    if arguments.hosts is not None:
        return Plan(1, arguments.slots, arguments.hosts, arguments.python or sys.executable)
    if arguments.python is not None:
        raise ValueError("--python says what runs on --hosts, and none are named")
    return None if arguments.local is None else Plan(arguments.local, arguments.slots)


# -- serve: a local cluster without a driver ----------------------------------------------------


def _serve_options(command: argparse.ArgumentParser) -> None:
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument("--local", type=_hosts, metavar="N")
    where.add_argument("--hosts", type=_names, metavar="a,b,c")
    command.add_argument("--python", metavar="PATH")
    command.add_argument("--slots", type=_count, metavar="K")
    command.add_argument("--lifeline", type=int, required=True, metavar="FD")


def _serve(arguments: Arguments) -> int:
    from ._launch import supervisor

    with socket.socket(fileno=arguments.lifeline) as lifeline:
        plan = _plan(arguments)
        assert plan is not None
        return asyncio.run(supervisor.serve(plan, lifeline))


# -- head and agent -----------------------------------------------------------------------------


def _head_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--bind", default="127.0.0.1:0", metavar="H:P")
    command.add_argument("--no-agent", action="store_true", help="the master alone")
    command.add_argument("--slots", type=_count, metavar="K", help="of the agent here")
    _memory_option(command)
    command.add_argument("--listen-fd", type=int, help=argparse.SUPPRESS)
    command.add_argument("--lifeline", type=int, help=argparse.SUPPRESS)


def _head(arguments: Arguments) -> int:
    _limit(arguments)
    from ._launch import head

    return head.main(arguments)


def _agent_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--join", required=True, metavar="H:P", help="the head's address")
    command.add_argument("--slots", type=_count, metavar="K", help="processes (default: cores)")
    _memory_option(command)
    command.add_argument(
        "--bind", metavar="H", help="address to listen at (default: that from which it joins)"
    )
    command.add_argument("--host", type=int, metavar="ID", help=argparse.SUPPRESS)
    command.add_argument("--over-ssh", action="store_true", help=argparse.SUPPRESS)


def _agent(arguments: Arguments) -> int:
    _limit(arguments)
    from ._launch import head

    return head.agent_main(arguments)


# -- status and doctor --------------------------------------------------------------------------


def _status_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--address", metavar="tcp://H:P")
    command.add_argument("--json", action="store_true")


def _status(arguments: Arguments) -> int:
    address = arguments.address or os.environ.get("DSMPROC_ADDRESS")
    if not address:
        raise ValueError("say which cluster: --address tcp://H:P, or DSMPROC_ADDRESS")
    key_file = os.environ.get("DSMPROC_AUTHKEY_FILE") or default_key_file()
    key = wire.read_key(key_file)
    status = wire.query(wire.parse_address(address), key, "status")
    if arguments.json:
        print(json.dumps(status))
        return 0
    print(f"master {status['address']} (pid {status['pid']}), up {age(status['age'])}")
    for driver in status["drivers"]:
        where = f"on host {driver['host']} (pid {driver['pid']})"
        print(f"driver {driver['program'] or 'python'} {where}, for {age(driver['age'])}")
    rows = [("host", "name", "address", "processes", "memory", "sent", "up", "agent", "state")]
    for host in status["hosts"]:
        rows.append(
            (
                *(str(host["id"]), host["name"], wire.format_address(tuple(host["address"]))),
                f"{host['processes']}/{host['slots']}",
                f"{size(host['memory'])}/{size(host['memory_limit'])}",
                *(size(host["bytes_sent"]), age(host["age"]), str(host["pid"]), host["state"]),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    return 0


def _doctor_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--address", metavar="tcp://H:P", help="and what cluster this one is in")


def _doctor(arguments: Arguments) -> int:
    from ._launch import doctor

    address = arguments.address or os.environ.get("DSMPROC_ADDRESS")
    for name, value in [*doctor.findings(), ("cluster", doctor.try_cluster(address))]:
        print(f"{name:24} {value}")
    return 0


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(names) >= MAX_HOSTS:
        raise argparse.ArgumentTypeError(f"names of at most {MAX_HOSTS - 1} hosts, a,b,c")
    return names


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def _hosts(text: str) -> int:
    if _count(text) > MAX_HOSTS:
        raise argparse.ArgumentTypeError(f"{text} hosts are more than {MAX_HOSTS}")
    return int(text)


Command = tuple[str, str, Callable[[argparse.ArgumentParser], None], Callable[[Arguments], int]]
COMMANDS: list[Command] = [
    ("run", "run a script on a cluster", _run_options, _run),
    ("head", "the master of a cluster, and an agent", _head_options, _head),
    ("agent", "join this machine to a cluster", _agent_options, _agent),
    ("status", "the hosts of a cluster", _status_options, _status),
    ("doctor", "what this machine offers, and what was chosen", _doctor_options, _doctor),
    ("serve", "a local cluster for dsmproc.init(local=N)", _serve_options, _serve),
]
