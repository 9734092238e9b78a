"""Calls of loaded objects are redirected, however the objects were linked, and when they came."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from hosts import Hosts

from dsmproc._memory.client import Client

PAGE = 4096
HERE = Path(__file__).parent
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
LINKED = {
    "lazy": ["-Wl,-z,lazy"],
    "now": ["-Wl,-z,now", "-Wl,-z,relro"],
    "no-plt": ["-fno-plt", "-Wl,-z,now", "-Wl,-z,relro"],
}

pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")


@pytest.fixture(params=["uffd-user", "segv"], autouse=True)
def mechanism(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DSMPROC_FAULTS", request.param)
    return str(request.param)


def build(source: str, folder: Path, *flags: str) -> str:
    built = str(folder / (source + ".so"))
    command = [str(COMPILER), "-shared", "-fPIC", "-O1", *flags, str(HERE / source), "-o", built]
    subprocess.run([*command, "-ldl"], check=True)
    return built


def fill(client: Client, region: int) -> int:
    memory = client.attach(region)
    memory[:] = bytes(range(1, 129)) * (len(memory) // 128)
    return client.publish()


def through(library: ctypes.CDLL, name: str, memory: memoryview) -> bytes:
    out, into = os.pipe()
    start = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    assert getattr(library, name)(into, start, ctypes.c_size_t(PAGE)) == PAGE
    got = os.read(out, PAGE)
    os.close(out)
    os.close(into)
    return got


@pytest.mark.parametrize("linked", LINKED)
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_object_that_is_loaded(tmp_path: Path, linked: str, when: str) -> None:
    path = build("redirected.c", tmp_path, *LINKED[linked])

    def body(client: Client, region: int, stamp: int) -> list[bool]:
        library = ctypes.CDLL(path) if when == "before" else None
        memory = client.attach(region)
        client.observe(stamp)
        if library is None:
            library = ctypes.CDLL(path)
        right = []
        for number, name in enumerate(("by_call", "by_fixed", "by_table")):
            part = memory[number * PAGE : (number + 1) * PAGE]
            right.append(through(library, name, part) == bytes(range(1, 129)) * (PAGE // 128))
        return [*right, bool(library.next_is_another())]

    with Hosts(2, tmp_path, run=1) as hosts:
        region = hosts.region(4)
        stamp = hosts[0].run(fill, region).result()
        assert hosts[1].run(body, region, stamp).result() == [True] * 4
        hosts.healthy()


def test_a_preloaded_library_is_called(tmp_path: Path, run_script: object) -> None:
    """Whoever started the program with it sees the calls as before."""
    preloaded = build("preloaded.c", tmp_path)
    script = f"""
        import ctypes, os
        import dsmproc

        if __name__ == "__main__":
            memory = dsmproc.SharedMemory(create=True, size=1 << 20)
            library = ctypes.CDLL({preloaded!r})
            before = library.written()
            null = os.open("/dev/null", os.O_WRONLY)
            assert os.write(null, memory.buf) == 1 << 20
            print(library.written() - before)
            memory.close()
            memory.unlink()
        """
    done = run_script(script, local=1, env={"LD_PRELOAD": preloaded}).check()  # type: ignore[operator]
    assert done.out == f"{1 << 20}\n"


def test_another_call_says_what_to_do(tmp_path: Path) -> None:
    """One that is not redirected, on a page that is not here."""

    def body(client: Client, region: int, stamp: int) -> tuple[int, str, str]:
        memory = client.attach(region)
        client.observe(stamp)
        libc = ctypes.CDLL(None, use_errno=True)
        start = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
        failed = libc.getrandom(start, ctypes.c_size_t(8), 0)
        return failed, os.strerror(ctypes.get_errno()), os.strerror(errno.ENOENT)

    with Hosts(2, tmp_path, run=1) as hosts:
        region = hosts.region(1)
        stamp = hosts[0].run(fill, region).result()
        failed, said, other = hosts[1].run(body, region, stamp).result()
        assert failed == -1
        assert said.startswith("Bad address") and "dsmproc doctor" in said
        assert other == "No such file or directory"


def test_objects_are_loaded_meanwhile(tmp_path: Path) -> None:
    """Threads load them while the first memory is mapped."""
    paths = []
    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        paths.append(build("redirected.c", folder, *LINKED["now"]))

    def body(client: Client, region: int, stamp: int) -> int:
        libraries: list[ctypes.CDLL] = []
        threads = [
            threading.Thread(target=lambda p=path: libraries.append(ctypes.CDLL(p)))
            for path in paths
        ]
        for thread in threads[:6]:
            thread.start()
        memory = client.attach(region)
        for thread in threads[6:]:
            thread.start()
        for thread in threads:
            thread.join()
        client.observe(stamp)
        parts = [memory[at : at + PAGE] for at in range(0, len(memory), PAGE)]
        return sum(
            len(through(library, "by_call", parts[i])) for i, library in enumerate(libraries)
        )

    with Hosts(2, tmp_path, run=1) as hosts:
        region = hosts.region(12)
        stamp = hosts[0].run(fill, region).result()
        assert hosts[1].run(body, region, stamp).result() == 12 * PAGE
        hosts.healthy()
