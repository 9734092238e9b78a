"""The public functions: a program starts, joins, looks at and leaves a cluster."""

from __future__ import annotations

import contextlib
import os
import sys
import types
import warnings
from multiprocessing import util
from typing import Any

from ._membership import active, attach, client, state
from ._memory import current
from ._native import check_built
from ._net import wire
from ._settings import check_settings, misspelt
from .errors import ClusterError

__all__ = ["current_host", "hosts", "init", "shutdown", "stats"]


class _Membership:
    """What init() returns: the cluster, until the end of a `with`."""

    def __enter__(self) -> _Membership:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        shutdown()

    def __repr__(self) -> str:
        joined = state.client
        if joined is None:
            return "<dsmproc: no cluster>"
        return f"<dsmproc: host {joined.host} of {wire.format_address(joined.master)}>"


def init(
    address: str | None = None,
    *,
    local: int | None = None,
    hosts: list[str] | None = None,
    python: str | None = None,
    slots: int | None = None,
    consistency: str | None = None,
    home: str | None = None,
) -> _Membership:
    """Join the cluster at `address`, or start one: `local` hosts on this machine, or this machine
    and `hosts`, where ssh starts agents with the interpreter `python` (DSMPROC_SSH: which ssh).

    Under `dsmproc run` the cluster is there already: init() without an address joins that one,
    whatever `local` says, so a script may contain it and be run either way. A second init() changes
    nothing, and warns if it asks for another cluster than there is.
    """
    run = "DSMPROC_SESSION" in os.environ  # which has looked at the environment
    if not run:
        for sentence in misspelt(os.environ):
            warnings.warn(sentence, stacklevel=2)
    with state.lock:
        if state.client is not None:
            if address is not None and wire.parse_address(address) != state.client.master:
                raise ClusterError(f"this process is in a cluster already: {_Membership()!r}")
            asked = {"local": local, "hosts": hosts, "slots": slots}
            driver = state.session_wire is not None
            if driver and not run and (other := _other(asked)):
                what = f"this process is in a cluster already, so {other} has no effect: shutdown()"
                warnings.warn(f"{what} ends that one", stacklevel=2)
            return _Membership()
        state.left = False
        address = address or os.environ.get("DSMPROC_ADDRESS") or None
        if address is not None:
            attach(address, os.environ.get("DSMPROC_AUTHKEY_FILE"))
        elif local is not None or hosts is not None:
            _start(_plan(local, hosts, python, slots), consistency, home)
        else:
            raise ClusterError("which cluster? give init() an address, local=N or hosts=[...]")
        # The standard library joins a program's processes at its end; only then may we leave.
        util.Finalize(None, shutdown, exitpriority=-100)
        return _Membership()


def _other(asked: dict[str, Any]) -> str:
    """What is asked for and not so in the cluster that there is, as it stands in the call."""
    plan = None if state.local is None else state.local.plan
    return ", ".join(
        f"{name}={value!r}"
        for name, value in asked.items()
        if value is not None and (plan is None or value != getattr(plan, name))
    )


def _plan(local: int | None, hosts: list[str] | None, python: str | None, slots: int | None) -> Any:
    from ._launch.local import Plan

    for what, number in (("local", local), ("slots", slots)):
        if number is not None and (type(number) is not int or number < 1):
            raise ValueError(f"init({what}={number!r}): a number of at least 1 is needed")
    if hosts is None:
        return Plan(local or 1, slots)
    if local is not None:
        raise ValueError("init(): local and hosts exclude each other")
    if not hosts or not all(isinstance(name, str) and name and "," not in name for name in hosts):
        raise ValueError(f"init(hosts={hosts!r}): a list of host names is needed")
    return Plan(1, slots, list(hosts), python or sys.executable)


def _start(plan: Any, consistency: str | None, home: str | None) -> None:
    from ._launch import local

    wanted = {"DSMPROC_CONSISTENCY": consistency, "DSMPROC_HOME": home}
    settings = {name: value for name, value in wanted.items() if value is not None}
    check_settings({**os.environ, **settings})
    check_built()
    handle = local.start(plan, settings)
    try:
        attach(handle.address, handle.key_file)
    except BaseException:
        handle.close()
        raise
    state.local = handle


def shutdown() -> None:
    """Leave the cluster. What this program started on it ends; one that init() started ends too."""
    with state.lock:
        if state.client is None:
            return
        for callback in state.leaving:
            callback()
        current.close()  # before the agent ends: a client that loses its agent is killed
        state.client.leave()
        state.client = None
        state.left = True
        if state.session_wire is not None:
            with contextlib.suppress(OSError):
                state.session_wire.close()
            state.session_wire = None
        if state.local is not None:
            state.local.close()
            state.local = None


def hosts() -> list[int]:
    """The ids of the cluster's hosts; [0] without a cluster."""
    if not active():
        return [0]
    return [host["id"] for host in client().ask("hosts") if host["ready"]]


def current_host() -> int:
    """The id of the host that this process runs on; 0 without a cluster."""
    return client().host if active() else 0


def total_slots() -> int:
    """How many processes the cluster was made for."""
    return sum(host["slots"] for host in client().ask("hosts") if host["ready"])


def stats(reset: bool = False) -> dict[int, dict[str, int]]:
    """The counters of every host, since the start or since the last call with `reset`.

    What the master sends is counted to the host on whose machine it is (-1 if there is none).
    """
    if not active():
        return {0: {}}
    joined = client()
    members = [host for host in joined.ask("hosts") if host["ready"]]
    counted = {host["id"]: joined.ask_host(host, "stats", reset) for host in members}
    master = joined.ask("master", "stats", reset)
    heard = [master.pop("heard"), *(counters.pop("heard") for counters in counted.values())]
    beside = counted.setdefault(master.pop("host"), {})
    for name, value in master.items():
        beside[name] = beside.get(name, 0) + value
    by_address = {host["address"][0]: host["id"] for host in reversed(members)}
    for senders in heard:
        for who, value in senders.items():
            sender = by_address.get(who, who)  # a host's number stands for itself
            if sender in counted:  # it may have left, or have been nobody of the cluster
                counted[sender]["bytes_sent"] += value
    return counted
