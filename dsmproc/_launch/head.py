"""The bodies of `dsmproc head` and `dsmproc agent`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys

from .._cluster.agent import Agent, Options
from .._cluster.master import Master
from .._net import wire
from .._net.listener import listening_socket
from .._settings import command_environment
from . import ssh
from .local import private_directory
from .words import say


def key_file(create: bool) -> str:
    """DSMPROC_AUTHKEY_FILE, or the user's own file; the head makes that one if there is none."""
    from .. import _membership

    path = os.environ.get("DSMPROC_AUTHKEY_FILE")
    if path is None:
        path = _membership.default_key_file()
        if create and not os.path.exists(path):
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                wire.write_key(path)
    return path


def main(arguments: argparse.Namespace) -> int:
    """`dsmproc head`"""
    key = wire.read_key(key_file(create=True))
    if arguments.listen_fd is not None:
        listening = socket.socket(fileno=arguments.listen_fd)
    else:
        host, port = wire.parse_address(arguments.bind)
        if host in ("0.0.0.0", "::", ""):
            raise ValueError(f"--bind {arguments.bind}: name the address that other hosts call")
        listening = listening_socket(host, port)
    agent = None
    if not arguments.no_agent:
        address = wire.format_address(listening.getsockname()[:2])
        print(f"dsmproc head at {address}", flush=True)
        agent = _start_agent(address, arguments.slots)
    try:
        # Host 0 is the head's own agent, also if another one is quicker.
        master = Master(key, reserved=0 if agent is None else 1)
        return asyncio.run(_serve(master, listening, arguments.lifeline))
    finally:
        if agent is not None:
            _end_agent(agent)


async def _serve(master: Master, listening: socket.socket, lifeline: int | None) -> int:
    code = await master.run(listening, lifeline)
    shared = os.environ.get("DSMPROC_DIR")
    if lifeline is not None and shared is not None:
        # The supervisor does this too, unless it was killed.
        shutil.rmtree(shared, ignore_errors=True)
    return code


def _start_agent(address: str, slots: int | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dsmproc", "agent", "--join", address, "--host", "0"]
    if slots is not None:
        command += ["--slots", str(slots)]
    settings = {"DSMPROC_AUTHKEY_FILE": key_file(create=False)}
    return subprocess.Popen(
        command, env=command_environment(settings), cwd="/", start_new_session=True
    )


def _end_agent(agent: subprocess.Popen[bytes]) -> None:
    try:
        agent.wait(5)  # it was told by the master
    except subprocess.TimeoutExpired:
        say(f"the agent (pid {agent.pid}) does not end: it is killed")
        agent.kill()
        agent.wait()


def agent_main(arguments: argparse.Namespace) -> int:
    """`dsmproc agent`"""
    with contextlib.suppress(OSError):
        os.setsid()  # so that what workers leave behind can be told from the rest
    key = ssh.read_header() if arguments.over_ssh else wire.read_key(key_file(create=False))
    master = wire.parse_address(arguments.join)
    bind = arguments.bind or _address_towards(master)
    shared = os.environ.get("DSMPROC_DIR")
    if shared is not None:
        directory = os.path.join(shared, f"host-{arguments.host}-{os.getpid()}")
        os.mkdir(directory, 0o700)
    else:
        directory = private_directory()
    options = Options(
        key=key,
        master=master,
        directory=directory,
        bind=bind,
        slots=arguments.slots or len(os.sched_getaffinity(0)),
        wish=arguments.host,
        shared=shared,
    )
    try:
        return asyncio.run(_run_agent(options, arguments.over_ssh))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _address_towards(master: tuple[str, int]) -> str:
    try:
        return wire.own_address(master)
    except OSError as error:
        where = wire.format_address(master)
        raise wire.UnreachableError(
            f"nobody can be reached at {where}: {error.strerror or error}"
        ) from None


async def _run_agent(options: Options, over_ssh: bool) -> int:
    agent = Agent(options)
    if over_ssh:
        ssh.watch_lifeline(lambda: agent.end("lifeline"))
    return await agent.run()
