"""`--patch`: programs and libraries that import multiprocessing themselves, on other hosts."""

from __future__ import annotations

import pytest
from helpers import RunScript

LIBRARY = """
    import multiprocessing
    from multiprocessing import Lock, Process, get_context, shared_memory
    from multiprocessing.managers import BaseManager, SyncManager
    from multiprocessing.pool import Pool, ThreadPool
    from multiprocessing.shared_memory import SharedMemory
    from multiprocessing.sharedctypes import RawArray, Value

    class Register:
        def __init__(self):
            self.seen = []
        def add(self, what):
            self.seen.append(what)
        def all(self):
            return sorted(self.seen)

    class Manager(BaseManager):
        pass

    Manager.register("Register", Register)

    def where(_=None):
        import dsmproc
        import multiprocessing
        assert multiprocessing.get_start_method() == "cluster"
        return dsmproc.current_host()

    def fill(name, lock, raw, value, register, results):
        block = SharedMemory(name)
        with lock:
            block.buf[0] += 1
            raw[0] += 1.5
            value.value += 1
        register.add(where())
        results.put(where())
        block.close()
        nested = Pool(1)
        assert nested.map(where, [0])[0] != where()
        nested.close()
        nested.join()

    def run(count=2):
        block = SharedMemory(create=True, size=10)
        raw, value, lock = RawArray("d", 1), Value("i", 0), Lock()
        results = multiprocessing.Queue()
        with Manager() as manager:
            register = manager.Register()
            children = [
                Process(target=fill, args=(block.name, lock, raw, value, register, results))
                for _ in range(count)
            ]
            for child in children:
                child.start()
            hosts = {results.get(timeout=60) for _ in children}
            for child in children:
                child.join()
            assert [child.exitcode for child in children] == [0] * count
            assert set(register.all()) == hosts
        assert (block.buf[0], raw[0], value.value) == (count, 1.5 * count, count)
        block.close()
        block.unlink()
        return hosts
"""


def test_a_library_that_knows_only_multiprocessing(run_script: RunScript) -> None:
    run_script.write("library.py", LIBRARY)
    run_script(
        """
        import multiprocessing, sys
        assert "library" not in sys.modules
        import library
        import dsmproc

        if __name__ == "__main__":
            assert dsmproc.current_host() == 0
            assert 0 not in library.run(), "processes on other hosts"
            with multiprocessing.Pool(2) as pool:
                assert 0 not in pool.map(library.where, range(4))
            with library.ThreadPool(2) as threads:
                assert threads.map(abs, [-1]) == [1]
            assert isinstance(multiprocessing.get_context(), multiprocessing.context.BaseContext)
            methods = multiprocessing.get_all_start_methods()
            assert methods[0] == "cluster" and methods.count("cluster") == 1, methods
        """,
        options=["--patch"],
        env={"DSMPROC_PLACE": "remote"},
    ).check()


def test_executors_of_the_standard_library(run_script: RunScript) -> None:
    run_script.write(
        "tasks.py", "def host(_):\n    import dsmproc\n    return dsmproc.current_host()\n"
    )
    run_script(
        """
        from concurrent.futures import ProcessPoolExecutor
        import tasks

        def here(_):
            return tasks.host(None)

        if __name__ == "__main__":
            with ProcessPoolExecutor(2) as executor:
                assert 0 not in set(executor.map(tasks.host, range(8)))
                assert 0 not in set(executor.map(here, range(8)))
        """,
        options=["--patch"],
        env={"DSMPROC_PLACE": "remote"},
    ).check()


def test_joblibs_multiprocessing_backend(run_script: RunScript) -> None:
    pytest.importorskip("joblib")
    run_script(
        """
        import dsmproc
        from joblib import Parallel, delayed

        def task(x):
            import dsmproc
            return x * x, dsmproc.current_host()

        if __name__ == "__main__":
            done = Parallel(n_jobs=2, backend="multiprocessing")(
                delayed(task)(x) for x in range(10)
            )
            assert [square for square, _ in done] == [x * x for x in range(10)]
            assert 0 not in {host for _, host in done}, done
        """,
        options=["--patch"],
        env={"DSMPROC_PLACE": "remote"},
    ).check()


def test_a_standard_start_method_stays_standard_and_says_so_once(run_script: RunScript) -> None:
    done = run_script(
        """
        import multiprocessing
        import multiprocessing.synchronize
        import os

        def host(queue):
            queue.put(os.getppid())

        if __name__ == "__main__":
            for _ in range(3):
                spawn = multiprocessing.get_context("spawn")  # this line
            lock = spawn.Lock()
            assert type(lock) is multiprocessing.synchronize.Lock, type(lock)
            assert type(spawn.RawArray("i", 2)._wrapper).__module__ == "multiprocessing.heap"
            for method in ("spawn", "fork", "forkserver"):
                ctx = multiprocessing.get_context(method)
                queue = ctx.Queue()
                child = ctx.Process(target=host, args=(queue,))
                child.start()
                parent = queue.get(timeout=60)
                child.join()
                assert child.exitcode == 0
                assert method == "forkserver" or parent == os.getpid()
            with spawn.Pool(1) as pool:
                assert pool.map(abs, [-1]) == [1]
        """,
        options=["--patch"],
    ).check()
    lines = [line for line in done.err.splitlines() if "keeps its processes" in line]
    assert len(lines) == 4 and sum("'spawn'" in line for line in lines) == 2, done.err
    assert "script.py:11" in lines[0]


def test_standard_methods_mapped_to_the_cluster(run_script: RunScript) -> None:
    done = run_script(
        """
        import multiprocessing
        import dsmproc

        def end():
            raise SystemExit(dsmproc.current_host())

        if __name__ == "__main__":
            multiprocessing.set_start_method("fork", force=True)
            for ctx in (multiprocessing, multiprocessing.get_context("spawn")):
                child = ctx.Process(target=end)
                child.start()
                child.join()
                assert child.exitcode in (1, 2), child.exitcode
        """,
        options=["--patch"],
        env={"DSMPROC_PLACE": "remote", "DSMPROC_METHODS": "cluster"},
    ).check()
    assert done.err == ""  # no warning, and nothing of the interpreter's start


def test_without_the_option_nothing_is_patched(run_script: RunScript) -> None:
    run_script(
        """
        import multiprocessing, os, sys
        assert "dsmproc" not in sys.modules
        assert multiprocessing.get_context().get_start_method() != "cluster"
        assert "DSMPROC_PATCH" not in os.environ
        """
    ).check()


def test_the_programs_own_sitecustomize_and_path_are_kept(run_script: RunScript) -> None:
    run_script.write("custom/sitecustomize.py", "import builtins\nbuiltins.customized = True\n")
    run_script(
        """
        import sys
        assert customized
        assert not any("_startup" in entry for entry in sys.path), sys.path
        assert "script" not in sys.modules and sys.modules["__main__"].__file__ == __file__
        """,
        options=["--patch"],
        env={"PYTHONPATH": f"{run_script.folder}/custom"},
    ).check()
