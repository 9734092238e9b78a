"""A program's code on hosts that have never seen it: one `__main__`, by value, with its globals."""

from __future__ import annotations

from helpers import RunScript


def test_a_script_without_a_guard_runs_once(run_script: RunScript) -> None:
    result = run_script(
        """
        import dsmproc as mp
        print("top level of", __name__)

        def work():
            print("work in", __name__)

        process = mp.Process(target=work)
        process.start()
        process.join()
        """
    ).check()
    assert result.lines() == ["top level of __main__", "work in __main__"]


def test_functions_closures_lambdas_classes_and_globals(run_script: RunScript) -> None:
    result = run_script(
        """
        import functools, math
        import dsmproc as mp

        LIMIT = 10
        names = ["a"]

        def helper(x):
            return later(x) + LIMIT

        def later(x):  # found when called, as at home
            return math.floor(x)

        class Base:
            kind = "base"
            def __init__(self, value):
                self.value = value

        class Derived(Base):
            kind = "derived"
            def show(self):
                return type(self).__name__, super().kind, self.value, helper(self.value)

        class Mine(mp.Process):
            def __init__(self, thing):
                super().__init__(name="Mine")
                self.thing = thing
            def run(self):
                print("subclass", self.name, self.thing.show(), isinstance(self.thing, Base))

        def make(n):
            def inner(m):
                return n * m + LIMIT
            return inner

        def call(function, *arguments):
            print("call", function(*arguments))

        def deep():
            import __main__
            print("main", __main__.LIMIT, __main__.helper is helper, names)

        def run(*arguments, **keywords):
            process = mp.Process(*arguments, **keywords)
            process._dsmproc_host = 1
            process.start()
            process.join()
            assert process.exitcode == 0

        LIMIT = 20
        names.append("b")
        run(target=call, args=(helper, 2.5))
        run(target=call, args=(make(3), 4))
        run(target=call, args=(lambda x, y=1: x + y + LIMIT, 5))
        run(target=call, args=(functools.partial(make(2), 6),))
        run(target=deep)
        process = Mine(Derived(7))
        process.start()
        process.join()
        """
    ).check()
    assert result.err == ""
    assert result.lines() == [
        "call 22",
        "call 32",
        "call 26",
        "call 32",
        "main 20 True ['a', 'b']",
        "subclass Mine ('Derived', 'base', 7, 27) True",
    ]


def test_one_main_in_a_worker(run_script: RunScript) -> None:
    """What an initializer has set is not undone by a later function's globals."""
    result = run_script(
        """
        import dsmproc as mp
        from dsmproc._std import pickling

        state = None
        class Config:
            level = 0

        def initializer(value):
            global state
            state = value
            Config.level = value

        def task():
            return state, Config.level, isinstance(Config(), Config)

        def worker(first, second):
            pickling.loads(first)(5)
            print(pickling.loads(second)(), pickling.loads(second) is not None)

        sent = (pickling.dumps(initializer), pickling.dumps(task))
        process = mp.Process(target=worker, args=sent)
        process.start()
        process.join()
        """
    ).check()
    assert result.lines() == ["(5, 5, True) True"]


def test_classes_keep_their_identity_on_the_way_back(run_script: RunScript) -> None:
    result = run_script(
        """
        import dataclasses, enum
        from dsmproc._std import pickling

        class Colour(enum.Enum):
            RED = 1

        @dataclasses.dataclass
        class Point:
            x: int
            colour: Colour

        def change(data):
            return data

        data = pickling.dumps(Point(3, Colour.RED))
        Point.extra = "kept"
        again = pickling.loads(data)
        assert type(again) is Point and again == Point(3, Colour.RED)
        assert again.colour is Colour.RED and Point.extra == "kept"
        print("same")
        """
    ).check()
    assert result.lines() == ["same"]


def test_a_global_that_cannot_be_sent_says_so_when_used(run_script: RunScript) -> None:
    result = run_script(
        """
        import threading
        import dsmproc as mp

        lock = threading.Lock()

        def harmless():
            if len("x") == 2:
                lock.acquire()
            print("harmless")

        def harmful():
            with_other(1)

        def with_other(n):
            lock.acquire()

        for target in (harmless, harmful):
            process = mp.Process(target=target)
            process.start()
            process.join()
            print(process.exitcode)
        """
    ).check()
    assert result.lines() == ["harmless", "0", "1"]
    assert "the global 'lock' of __main__ could not be sent" in result.err


def test_arguments_that_cannot_be_pickled_raise_at_start(run_script: RunScript) -> None:
    result = run_script(
        """
        import threading
        import multiprocessing
        import dsmproc as mp

        def work(x):
            pass

        early = multiprocessing.Lock()
        for argument in (threading.Lock(), early):
            try:
                mp.Process(target=work, args=(argument,)).start()
            except Exception as error:
                print(type(error).__name__, error)
        print(mp.active_children())
        """
    ).check()
    assert result.lines()[0].startswith("TypeError cannot pickle")
    assert "ClusterError a Lock of the standard multiprocessing" in result.lines()[1]
    assert "create it after dsmproc.init()" in result.lines()[1]
    assert len(result.lines()) == 3 and result.lines()[-1] == "[]"


def test_sockets_registered_reducers_are_used(run_script: RunScript) -> None:
    """multiprocessing's reducers are chained in: one that a library registers is called."""
    result = run_script(
        """
        from multiprocessing.reduction import ForkingPickler
        import dsmproc as mp

        class Tensor:
            def __init__(self, n):
                self.n = n
            def __reduce__(self):
                raise TypeError("not this way")

        def rebuild(n):
            return Tensor(n)

        ForkingPickler.register(Tensor, lambda tensor: (rebuild, (tensor.n,)))

        def work(tensor):
            print("tensor", tensor.n)

        process = mp.Process(target=work, args=(Tensor(9),))
        process.start()
        process.join()
        """
    ).check()
    assert result.lines() == ["tensor 9"]


def test_naming_a_standard_start_method_stays_here_and_warns_once(run_script: RunScript) -> None:
    text = """
        import multiprocessing
        import dsmproc as mp

        def work():
            raise SystemExit(mp.current_host() + 10)

        if __name__ == "__main__":
            mp.set_start_method("spawn")
            print(mp.get_start_method())
            process = mp.Process(target=work)
            process.start()
            process.join()
            print(type(process._popen).__module__, process.exitcode)
            print(type(mp.get_context("cluster").Process).__name__)
    """
    result = run_script(text).check()
    assert result.lines()[:2] == ["spawn", "multiprocessing.popen_spawn_posix 10"]
    assert result.err.count("RuntimeWarning: the start method 'spawn' keeps its processes") == 1
    assert "script.py:9" in result.err
    result = run_script(text, env={"DSMPROC_METHODS": "cluster", "DSMPROC_PLACE": "remote"}).check()
    assert result.lines()[0] == "spawn" and result.lines()[1].startswith("dsmproc.process 1")
    assert result.err == ""


def test_a_forked_child_is_a_member_too(run_script: RunScript) -> None:
    result = run_script(
        """
        import multiprocessing, os
        import dsmproc as mp

        def remote():
            raise SystemExit(mp.current_host())

        def forked():
            process = mp.Process(target=remote)
            process._dsmproc_host = 2
            process.start()
            process.join()
            os._exit(process.exitcode + 30)

        mp.hosts()
        child = multiprocessing.get_context("fork").Process(target=forked)
        child.start()
        child.join()
        print(child.exitcode, mp.hosts())
        """
    ).check()
    assert result.lines() == ["32 [0, 1, 2]"]
