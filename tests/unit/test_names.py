"""Without a cluster every name of dsmproc is the standard library's."""

from __future__ import annotations

import errno
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
import subprocess
import sys
import threading

import pytest

import dsmproc
import dsmproc._cluster


def test_every_name_of_multiprocessing_is_there() -> None:
    missing = [name for name in multiprocessing.__all__ if not hasattr(dsmproc, name)]
    assert missing == []
    missing = [name for name in multiprocessing.__all__ if name not in dsmproc.__all__]
    assert missing == []


@pytest.mark.parametrize("name", sorted(set(multiprocessing.__all__) - {"Process", "reducer"}))
def test_signatures(name: str) -> None:
    ours, theirs = getattr(dsmproc, name), getattr(multiprocessing, name)
    if inspect.isclass(theirs):
        assert ours is theirs
        return

    def shape(function: object) -> list[tuple[str, object, object]]:
        parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
        return [(p.name, p.kind, p.default) for p in parameters]

    assert shape(ours) == shape(theirs)


def test_objects_are_the_standard_ones() -> None:
    made = {
        name: getattr(dsmproc, name)()
        for name in ("Lock", "RLock", "Condition", "Semaphore", "Event", "Queue", "SimpleQueue")
    }
    for name, ours in made.items():
        assert type(ours) is type(getattr(multiprocessing, name)()), name
    one, two = dsmproc.Pipe()
    assert type(one) is type(multiprocessing.Pipe()[0])
    one.close()
    two.close()
    made["Queue"].close()
    assert type(dsmproc.Value("i", 3)) is type(multiprocessing.Value("i", 3))
    assert type(dsmproc.Array("i", 3)) is type(multiprocessing.Array("i", 3))
    assert dsmproc.get_context("spawn") is multiprocessing.get_context("spawn")
    assert dsmproc.get_context() is multiprocessing.get_context()
    assert issubclass(dsmproc.Process, multiprocessing.Process)
    assert dsmproc.cpu_count() == multiprocessing.cpu_count()
    assert (dsmproc.hosts(), dsmproc.current_host()) == ([0], 0)


def test_a_process_without_a_cluster() -> None:
    process = dsmproc.Process(target=sys.exit, args=(4,))
    process.start()
    process.join()
    assert process.exitcode == 4
    assert type(process._popen).__module__.startswith("multiprocessing")
    process.close()


def test_importing_starts_and_connects_nothing() -> None:
    code = (
        "import os, sys, threading\n"
        "before = len(os.listdir('/proc/self/fd'))\n"
        "import dsmproc\n"
        "assert threading.active_count() == 1\n"
        "assert len(os.listdir('/proc/self/fd')) == before\n"
        "assert 'asyncio' not in sys.modules and 'ctypes' not in sys.modules\n"
    )
    env = {"DSMPROC_ADDRESS": "tcp://127.0.0.1:1", "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=env)
    assert threading.active_count() >= 1


def test_what_needs_a_cluster_says_so() -> None:
    from dsmproc import cluster

    with pytest.raises(dsmproc.ClusterError, match="init"):
        cluster.client()
    with pytest.raises(dsmproc.ClusterError, match="which cluster"):
        dsmproc.init()
    with pytest.raises(dsmproc.ClusterError):
        dsmproc.get_context("cluster").Process(target=print).start()
    dsmproc.shutdown()


def test_submodules_by_their_standard_names() -> None:
    assert dsmproc.util is multiprocessing.util
    assert dsmproc.shared_memory.SharedMemory
    with pytest.raises(AttributeError):
        dsmproc.no_such_thing  # noqa: B018


INTERNAL = {  # what the cluster's own processes raise among themselves
    "ForgedFrameError",
    "StartError",
    "UnreachableError",
    "_LostConnectionError",
}


def test_every_error_of_a_cluster_is_public() -> None:
    for module in pkgutil.walk_packages(dsmproc.__path__, "dsmproc."):
        if module.name.split(".")[1] not in ("__main__", "_startup", "bench", "joblib"):
            importlib.import_module(module.name)
    found, rest = set(), [multiprocessing.ProcessError]
    while rest:
        kinds = [kind for kind in rest.pop().__subclasses__() if kind.__module__[:7] == "dsmproc"]
        found.update(kinds)
        rest += kinds
    public = {kind.__name__ for kind in found} - INTERNAL
    assert {"HostLostError", "LostChannelError"} < public
    assert public <= set(dsmproc.errors.__all__) & set(dsmproc.__all__)


@pytest.mark.parametrize(("name", "number"), [("LastReader", "EPIPE"), ("Channel", "ECONNRESET")])
def test_errors_that_are_os_errors(name: str, number: str) -> None:
    kind = getattr(dsmproc, {"Channel": "LostChannelError"}.get(name, f"{name}LostError"))
    for error in (
        kind("host 1 was lost", 1),
        pickle.loads(pickle.dumps(kind("host 1 was lost", 1))),
    ):
        assert (str(error), error.host, error.errno) == (
            "host 1 was lost",
            1,
            getattr(errno, number),
        )
        with pytest.raises(OSError, match="host 1 was lost"):
            raise error
