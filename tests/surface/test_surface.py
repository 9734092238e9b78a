"""Every public name of multiprocessing is there, with the same signature."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys

import pytest
import surface
from helpers import RunScript

import dsmproc


def test_nothing_is_missing() -> None:
    found = list(surface.entries())
    assert len(found) > 250
    missing = [f"{e.module or 'multiprocessing'}: {e.name} {e.fault}" for e in found if e.fault]
    assert missing == []


def test_the_comparison_finds_what_is_missing_or_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(dsmproc, "Pipe")
    monkeypatch.setattr(dsmproc, "Queue", lambda size=0: None)
    monkeypatch.setattr(dsmproc, "Process", type("Process", (), {}))
    faults = {e.name: e.fault for e in surface.entries() if e.module == "" and e.fault}
    assert faults["Pipe"] == "missing"
    assert "signature" in faults["Queue"]
    assert "relative" in faults["Process"]


@pytest.mark.parametrize("name", [name for name in surface.MODULES if name])
def test_each_module_can_be_imported_first(name: str) -> None:
    code = f"import dsmproc.{name} as ours, multiprocessing.{name} as theirs; assert ours, theirs"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


CLASSES = [
    ("synchronize", "Lock", lambda m: m.Lock()),
    ("synchronize", "RLock", lambda m: m.RLock()),
    ("synchronize", "Semaphore", lambda m: m.Semaphore()),
    ("synchronize", "BoundedSemaphore", lambda m: m.BoundedSemaphore()),
    ("synchronize", "Condition", lambda m: m.Condition()),
    ("synchronize", "Event", lambda m: m.Event()),
    ("synchronize", "Barrier", lambda m: m.Barrier(2)),
    ("queues", "Queue", lambda m: m.Queue()),
    ("queues", "JoinableQueue", lambda m: m.JoinableQueue()),
    ("queues", "SimpleQueue", lambda m: m.SimpleQueue()),
    ("connection", "Connection", lambda m: m.Pipe(duplex=False)[0]),
    ("sharedctypes", "Synchronized", lambda m: m.Value("i")),
    ("sharedctypes", "SynchronizedArray", lambda m: m.Array("i", 3)),
]


@pytest.mark.parametrize(("module", "name", "make"), CLASSES, ids=[one[1] for one in CLASSES])
def test_isinstance_without_a_cluster(module: str, name: str, make: object) -> None:
    theirs = getattr(surface.module("multiprocessing", module), name)
    ours = getattr(surface.module("dsmproc", module), name)
    for package in (multiprocessing, dsmproc):
        made = make(package)  # type: ignore[operator]
        assert isinstance(made, theirs) and isinstance(made, ours)
        assert type(made).__module__.startswith("multiprocessing")
        if hasattr(made, "close"):
            made.close()


def test_isinstance_on_a_cluster(run_script: RunScript) -> None:
    run_script(
        """
        import dsmproc, importlib, multiprocessing.synchronize
        from dsmproc import synchronize, queues
        def theirs_and_ours(module, name):
            for package in ("multiprocessing", "dsmproc"):
                yield getattr(importlib.import_module(f"{package}.{module}"), name)
        for module, name, made in [
            ("synchronize", "Lock", dsmproc.Lock()),
            ("synchronize", "RLock", dsmproc.RLock()),
            ("synchronize", "Semaphore", dsmproc.Semaphore()),
            ("synchronize", "BoundedSemaphore", dsmproc.BoundedSemaphore()),
            ("synchronize", "Condition", dsmproc.Condition()),
            ("synchronize", "Event", dsmproc.Event()),
            ("synchronize", "Barrier", dsmproc.Barrier(2)),
            ("queues", "Queue", dsmproc.Queue()),
            ("queues", "JoinableQueue", dsmproc.JoinableQueue()),
            ("queues", "SimpleQueue", dsmproc.SimpleQueue()),
            ("connection", "Connection", dsmproc.Pipe()[0]),
            ("sharedctypes", "Synchronized", dsmproc.Value("i")),
            ("sharedctypes", "SynchronizedArray", dsmproc.Array("i", 3)),
            ("context", "BaseContext", dsmproc.get_context()),
            ("process", "BaseProcess", dsmproc.Process()),
            ("process", "BaseProcess", dsmproc.get_context().Process()),
        ]:
            for cls in theirs_and_ours(module, name):
                assert isinstance(made, cls), (made, cls)
        ctx = dsmproc.get_context()
        assert type(synchronize.Lock(ctx=ctx)) is type(dsmproc.Lock())
        assert type(queues.Queue(ctx=ctx)) is type(dsmproc.Queue())
        fork = multiprocessing.get_context("fork")
        assert type(synchronize.Lock(ctx=fork)) is multiprocessing.synchronize.Lock
        assert type(queues.Queue(3, ctx=fork)) is multiprocessing.queues.Queue

        class Doubling(queues.Queue):
            def __init__(self):
                super().__init__(ctx=dsmproc.get_context())
            def get(self):
                return 2 * super().get()

        def put(queue):
            queue.put(21)

        queue = Doubling()
        child = dsmproc.Process(target=put, args=(queue,))
        child.start()
        assert queue.get() == 42
        child.join()
        """,
        env={"DSMPROC_PLACE": "remote"},
    ).check()


def test_a_derived_class_without_a_cluster(run_script: RunScript) -> None:
    run_script(
        """
        import dsmproc
        from dsmproc import pool, queues, shared_memory

        class Doubling(queues.Queue):
            def __init__(self):
                super().__init__(ctx=dsmproc.get_context())
            def get(self, *arguments, **keywords):
                return 2 * super().get(*arguments, **keywords)

        class Memory(shared_memory.SharedMemory):
            pass

        class Pool(pool.Pool):
            pass

        if __name__ == "__main__":
            queue = Doubling()
            queue.put(3)
            assert queue.get(timeout=30) == 6
            memory = Memory(create=True, size=5)
            memory.close()
            memory.unlink()
            with Pool(1, context=dsmproc.get_context("fork")) as one:
                assert one.map(abs, [-3]) == [3]
            assert isinstance(queue, queues.Queue) and isinstance(one, pool.Pool)
        """,
        local=None,
    ).check()
