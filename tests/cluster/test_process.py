"""Process on a cluster: where it runs, how it ends, what it inherits."""

from __future__ import annotations

import os

from helpers import RunScript


def test_one_process_on_each_host(run_script: RunScript) -> None:
    result = run_script(
        """
        import dsmproc as multiprocessing

        def show(number):
            print("number", number, "host", multiprocessing.current_host())

        processes = [multiprocessing.Process(target=show, args=(i,)) for i in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        print("codes", [process.exitcode for process in processes])
        """
    ).check()
    hosts = {line.split()[3] for line in result.lines() if line.startswith("number")}
    assert hosts == {"0", "1", "2"}
    # A joined process's words stand before what its parent prints next.
    assert result.lines()[-1] == "codes [0, 0, 0]"
    assert result.err == ""


def test_exit_codes_and_exceptions(run_script: RunScript) -> None:
    result = run_script(
        """
        import os, signal, sys
        import dsmproc as mp

        def run(how):
            if how == "exit":
                sys.exit(7)
            if how == "text":
                sys.exit("a reason")
            if how == "raise":
                raise ValueError("on purpose")
            if how == "_exit":
                os._exit(9)
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)

        for how in ("none", "exit", "text", "raise", "_exit", "kill"):
            process = mp.Process(target=run, args=(how,))
            assert process.exitcode is None and process.pid is None
            process.start()
            process.join()
            print(how, process.exitcode, process.is_alive())
        """
    ).check()
    assert result.lines() == [
        "none 0 False",
        "exit 7 False",
        "text 1 False",
        "raise 1 False",
        "_exit 9 False",
        "kill -9 False",
    ]
    assert "ValueError: on purpose" in result.err
    assert "a reason" in result.err


def test_terminate_kill_join_sentinel(run_script: RunScript) -> None:
    result = run_script(
        """
        import time
        from multiprocessing.connection import wait
        import dsmproc as mp

        def sleep():
            time.sleep(60)

        for end in ("terminate", "kill"):
            process = mp.Process(target=sleep)
            process._dsmproc_host = 1
            process.start()
            assert process in mp.active_children()
            process.join(timeout=0.01)
            assert process.is_alive() and process.exitcode is None
            assert wait([process.sentinel], timeout=0) == []
            getattr(process, end)()
            assert wait([process.sentinel], timeout=20) == [process.sentinel]
            process.join()
            assert wait([process.sentinel], timeout=0) == [process.sentinel]
            assert process not in mp.active_children()
            print(end, process.exitcode)
            process.close()
        """
    ).check()
    assert result.lines() == ["terminate -15", "kill -9"]


def test_a_stopped_process_is_terminated(run_script: RunScript) -> None:
    """Here, by its parent elsewhere, and as a daemon at the end of the program."""
    result = run_script(
        """
        import os, signal
        import dsmproc as mp

        def stop(pipe):
            pipe.send(os.getpid())
            os.kill(os.getpid(), signal.SIGSTOP)

        def start(daemon=None):
            ours, theirs = mp.Pipe()
            process = mp.Process(target=stop, args=(theirs,), daemon=daemon)
            process.start()
            pid, state = ours.recv(), ""
            while state != "T":
                with open(f"/proc/{pid}/stat") as file:
                    state = file.read().rpartition(")")[2].split()[0]
            return process

        def parent():
            process = start()
            process.terminate()
            process.join()
            print("exit code", process.exitcode)

        parent()
        process = mp.Process(target=parent)
        process.start()
        process.join()
        start(daemon=True)
        """
    ).check()
    assert result.lines() == ["exit code -15", "exit code -15"]


def test_what_a_child_inherits(run_script: RunScript) -> None:
    result = run_script(
        """
        import logging, os, sys
        import dsmproc as mp

        def check(cwd, key, path):
            process = mp.current_process()
            assert process.authkey == key
            assert process.pid == os.getpid() and process.name == "Carlo"
            assert os.environ["SET_LATE"] == "yes"
            assert sys.argv[1:] == ["one", "two"]
            assert sys.path[:len(path)] == path
            assert os.getcwd() == cwd
            assert os.umask(0) == 0o027
            assert mp.get_logger().level == logging.ERROR
            assert sys.stdin.read() == ""
            assert mp.parent_process().is_alive() and mp.parent_process().name == "MainProcess"
            print("inherited", mp.current_host())

        os.environ["SET_LATE"] = "yes"
        os.umask(0o027)
        sys.path.append("/nowhere/at/all")
        mp.get_logger().setLevel(logging.ERROR)
        for host in mp.hosts():
            process = mp.Process(target=check, name="Carlo",
                                 args=(os.getcwd(), bytes(mp.current_process().authkey), sys.path))
            process._dsmproc_host = host
            process.start()
            process.join()
            assert process.exitcode == 0
        """,
        args=["one", "two"],
    ).check()
    assert result.lines() == ["inherited 0", "inherited 1", "inherited 2"]


def test_processes_start_processes(run_script: RunScript) -> None:
    result = run_script(
        """
        import dsmproc as mp

        def inner(depth):
            if depth:
                child = mp.Process(target=inner, args=(depth - 1,))
                child.start()
                child.join()
                raise SystemExit(child.exitcode + 1)
            raise SystemExit(1)

        if __name__ == "__main__":
            process = mp.Process(target=inner, args=(3,))
            process.start()
            process.join()
            print(process.exitcode)
        """
    ).check()
    assert result.lines() == ["4"]


def test_more_processes_than_slots_never_wait(run_script: RunScript) -> None:
    result = run_script(
        """
        import os, time
        import dsmproc as mp

        def meet(folder, number, all):
            open(os.path.join(folder, str(number)), "w").close()
            while len(os.listdir(folder)) < all:
                time.sleep(0.01)

        import tempfile
        with tempfile.TemporaryDirectory() as folder:
            processes = [mp.Process(target=meet, args=(folder, i, 6)) for i in range(6)]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
        print([process.exitcode for process in processes], len({p.pid for p in processes}))
        """,
        options=["--slots", "1"],
        local=2,
    ).check()
    assert result.lines() == ["[0, 0, 0, 0, 0, 0] 6"]


def test_placement(run_script: RunScript) -> None:
    text = """
        import os
        import dsmproc as mp

        def where():
            raise SystemExit(mp.current_host())

        processes = [mp.Process(target=where) for _ in range(6)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        print(sorted(process.exitcode for process in processes))
        """
    answers = {
        policy: run_script(text, env={"DSMPROC_PLACE": policy}).check().out.strip()
        for policy in ("spread", "remote", "local")
    }
    assert answers["spread"] == "[0, 0, 1, 1, 2, 2]"
    assert answers["local"] == "[0, 0, 0, 0, 0, 0]"
    assert "0" not in answers["remote"]


def test_the_scripts_exit_code_and_arguments(run_script: RunScript) -> None:
    result = run_script("import sys; print(sys.argv[1:]); sys.exit(5)", args=["-x", "--local", "9"])
    assert result.code == 5
    assert result.lines() == ["['-x', '--local', '9']"]


def test_a_module_is_run_by_name(run_script: RunScript) -> None:
    run_script.write("pack/__init__.py", "")
    run_script.write("pack/part.py", "VALUE = 5\n")
    run_script.write(
        "pack/tool.py",
        """
        import dsmproc as mp
        from .part import VALUE

        def work():
            from .part import VALUE as again
            raise SystemExit(VALUE + again)

        if __name__ == "__main__":
            process = mp.Process(target=work)
            process.start()
            process.join()
            print(process.exitcode)
        """,
    )
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "dsmproc", "run", "--local", "2", "-m", "pack.tool"],
        cwd=run_script.folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "10\n"), done.stderr
