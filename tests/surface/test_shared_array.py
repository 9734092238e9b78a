"""dsmproc.shared_array, and views that outlive their SharedMemory."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers import RunScript

pytest.importorskip("numpy")

BODY = """
    import gc, os, sys
    import numpy
    import dsmproc
    from dsmproc import shared_array

    def add(array, lock, view, derived):
        assert isinstance(array, numpy.ndarray) and array.shape == (300, 40)
        with lock:
            array += 1
            view[0] = 7
        assert derived.sum() == 300 * 40 * 2
        derived[:] = 0

    def make(n):
        made = shared_array(n, "i4")
        made[:] = numpy.arange(n)
        return made, dsmproc.current_host()

    def total(array):
        return int(array.sum())

    def main():
        array = shared_array((300, 40), "f8")
        assert array.dtype == float and not array.any() and array.flags.c_contiguous
        lock, derived = dsmproc.Lock(), array + 2
        column = array[5:9, 3]
        children = [dsmproc.Process(target=add, args=(array, lock, column, derived)) for _ in "ab"]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0, 0]
        assert derived.sum() == 300 * 40 * 2, "private"
        assert array[5, 3] in (7, 8) and array[0, 0] == 2 and array[9, 3] == 2
        plain = numpy.asarray(array)[10:]
        del array, column
        gc.collect()
        assert (plain == 2).all()
        with dsmproc.Pool(2) as pool:
            made = pool.map(make, [1000, 2000, 3000])
            for (one, host), n in zip(made, [1000, 2000, 3000]):
                assert total(one) == n * (n - 1) // 2
                one[0] = 5
                assert pool.apply(total, (one[:100],)) == 4950 + 5
        assert shared_array((), int).shape == () and shared_array((3, 0)).size == 0
        try:
            shared_array(3, object)
        except TypeError as error:
            assert "references" in str(error)
        else:
            raise AssertionError
        return {host for _, host in made}
"""


def test_a_shared_array_across_hosts(run_script: RunScript) -> None:
    run_script(
        BODY
        + """
    if __name__ == "__main__":
        assert 0 not in main()
        from dsmproc import sharedarray
        gc.collect()
        while sharedarray._lent:  # the last holder's end comes from another host
            sharedarray._sweep()
        """,
        env={"DSMPROC_PLACE": "remote"},
    ).check()


def test_a_shared_array_without_a_cluster(run_script: RunScript) -> None:
    run_script(
        BODY
        + """
    if __name__ == "__main__":
        assert main() == {0}
        """,
        local=None,
    ).check()


def test_a_view_that_outlives_its_shared_memory(run_script: RunScript) -> None:
    run_script(
        """
        import gc, numpy, dsmproc
        from dsmproc._memory import current

        def fill(name):
            block = dsmproc.SharedMemory(name)
            array = numpy.ndarray((1000,), "i8", buffer=block.buf)
            array[:] = 3
            block.close()
            assert array.sum() == 3000
            array[0] = 4

        def forgotten():
            block = dsmproc.SharedMemory(create=True, size=8000)
            array = numpy.ndarray((1000,), "i8", buffer=block.buf)
            array[:] = 1
            block.unlink()
            return array

        block = dsmproc.SharedMemory(create=True, size=8000)
        child = dsmproc.Process(target=fill, args=(block.name,))
        child.start()
        child.join()
        assert child.exitcode == 0
        array = numpy.ndarray((1000,), "i8", buffer=block.buf)
        block.close()
        block.unlink()
        assert array.sum() == 3001
        left = forgotten()
        gc.collect()
        dsmproc.SharedMemory(create=True, size=1).unlink()
        assert left.sum() == 1000
        del array, left
        again = dsmproc.SharedMemory(create=True, size=1)
        again.close()
        again.unlink()
        """,
        env={"DSMPROC_PLACE": "remote"},
    ).check()


def test_without_numpy_it_says_so() -> None:
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "import dsmproc\n"
        "try:\n    dsmproc.shared_array(3)\n"
        "except ImportError as error:\n    assert 'needs numpy' in str(error), error\n"
        "else:\n    raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_attaching_from_an_unrelated_process_does_not_destroy_it(by_hand: object) -> None:
    """cpython#82300, with the cluster's memory and two drivers."""
    script = (
        "import dsmproc, sys\n"
        "block = dsmproc.SharedMemory(sys.argv[1])\n"
        "block.buf[0] += 1\n"
        "block.close()\n"
    )
    command = [sys.executable, "-m", "dsmproc", "run", "--address", by_hand.address]  # type: ignore[attr-defined]
    holder = (
        "import dsmproc, subprocess, sys\n"
        "block = dsmproc.SharedMemory(create=True, size=5)\n"
        f"for _ in range(2):\n"
        f"    subprocess.run([sys.executable, '-c', {script!r}, block.name], check=True)\n"
        "assert block.buf[0] == 2\n"
        "block.close()\n"
        "block.unlink()\n"
    )
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(holder)
        file.flush()
        subprocess.run([*command, file.name], check=True, timeout=90)
