"""What dsmproc needs of the standard library's private side, on this version of Python."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from multiprocessing import context, process, util
from queue import Empty
from unittest import mock

import pytest

from dsmproc import _std
from dsmproc._std.choice import on_cluster


def test_preparation_data_has_what_a_child_needs_and_nothing_of_main() -> None:
    data = _std.preparation_data("Carlo")
    assert data["name"] == "Carlo"
    assert data["authkey"] == multiprocessing.current_process().authkey
    assert {"sys_path", "sys_argv", "orig_dir", "dir", "log_to_stderr"} <= set(data)
    assert not any(name.startswith("init_main") for name in data)


def test_asking_for_it_chooses_no_start_method() -> None:
    code = (
        "import multiprocessing, dsmproc._std as s; s.preparation_data('x'); "
        "assert s.in_actual_context() is None; multiprocessing.set_start_method('spawn'); "
        "assert s.in_actual_context() == 'spawn'; "
        "assert s.preparation_data('x')['start_method'] == 'spawn'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_spawning_popen_is_this_threads_and_goes_away() -> None:
    marker = object()
    with _std.spawning(marker):
        assert context.get_spawning_popen() is marker
    assert context.get_spawning_popen() is None
    with pytest.raises(ZeroDivisionError), _std.spawning(marker):
        raise ZeroDivisionError
    assert context.get_spawning_popen() is None


def test_inheriting() -> None:
    with _std.inheriting():
        assert process.current_process()._inheriting  # type: ignore[attr-defined]
    assert not hasattr(process.current_process(), "_inheriting")


def test_children_are_the_standard_librarys() -> None:
    class Child:
        _popen = None

    child = Child()
    _std.children().add(child)
    assert child in process._children  # type: ignore[attr-defined]
    _std.forget_child(child)
    assert child not in process._children  # type: ignore[attr-defined]
    _std.forget_child(child)


def test_the_context_is_registered() -> None:
    import dsmproc

    assert multiprocessing.get_context("cluster") is dsmproc.get_context("cluster")


def test_a_fresh_process_object_bootstraps() -> None:
    code = (
        "import os, sys; from dsmproc import _std, Process\n"
        "def f(): raise SystemExit(5)\n"
        "p = Process(target=f); r, w = os.pipe()\n"
        "os._exit(_std.bootstrap(p, r))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 5


def test_flags_and_streams_and_reducers() -> None:
    assert _std.interpreter_flags() == util._args_from_interpreter_flags()  # type: ignore[attr-defined]
    _std.flush_std_streams()
    assert isinstance(_std.extra_reducers(), dict)
    assert os.path.exists(sys.executable)


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_queue_get(kind: str) -> None:
    queue = getattr(multiprocessing.get_context("fork"), kind)()
    assert _std.has_standard_locks(queue)
    with pytest.raises(Empty):
        _std.queue_get(queue, 0.0)
    with pytest.raises(Empty):
        _std.queue_get(queue, 0.01)
    queue.put("value")
    assert queue._reader.poll(30)
    assert _std.queue_get(queue, 30) == "value"
    queue.close()


def test_queue_joined() -> None:
    queue = multiprocessing.get_context("fork").JoinableQueue()
    assert _std.queue_joined(queue, 0.0)
    queue.put("task")
    assert not _std.queue_joined(queue, 0.0) and not _std.queue_joined(queue, 0.01)
    assert queue.get(timeout=30) == "task"
    queue.task_done()
    assert _std.queue_joined(queue, 30)
    queue.close()
    queue.join_thread()


def test_a_context_that_somebody_made_up_is_none_of_ours() -> None:
    """It answers to any name: what is asked is its class."""
    assert not on_cluster(mock.MagicMock())
