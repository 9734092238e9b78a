"""Pages without home: writers keep their diffs, not for ever, and readers ask them."""

from __future__ import annotations

import signal

from helpers import RunScript, commands_of, send

COMMON = """
    import signal, time
    import dsmproc as mp

    PAGES, PAGE, KEEP = 500, 4096, 4 << 20

    def run(host, function, *arguments):
        process = mp.Process(target=function, args=arguments)
        process._dsmproc_host = host
        process.start()
        process.join()
        return process.exitcode

    def fill(memory, value):  # a new content of the same size: no two diffs are alike
        for page in range(PAGES):
            memory.buf[page * PAGE : (page + 1) * PAGE - 8] = bytes([value]) * (PAGE - 8)

    def mark(memory, value):
        for page in range(PAGES):
            memory.buf[(page + 1) * PAGE - 1] = value

    def check(memory, value, marked):
        for page in range(PAGES):
            bytes_of_it = bytes(memory.buf[page * PAGE : (page + 1) * PAGE])
            assert bytes_of_it[: PAGE - 8] == bytes([value]) * (PAGE - 8), page
            assert bytes_of_it[-1] == marked, page

    def counted(host, name):
        return mp.stats()[host][name]

    def kept(host):
        return counted(host, "bytes_kept") - counted(host, "bytes_dropped")
"""

KEEPS = (
    COMMON
    + """
    if __name__ == "__main__":
        memory = mp.SharedMemory(create=True, size=PAGES * PAGE, home="homeless")
        assert run(1, fill, memory, 1) == run(2, mark, memory, 7) == 0
        print("sent", [counted(host, "diffs_sent") for host in (0, 2)], kept(2) >= PAGES)
        check(memory, 1, 7)
        print("asked", counted(2, "diffs_sent") >= PAGES)
        for value in range(2, 9):
            assert run(2, fill, memory, value) == 0
            while kept(2) > KEEP:  # they are being collected
                time.sleep(0.01)
        print("kept", counted(2, "bytes_kept") > 3 * KEEP)
        assert run(1, check, memory, 8, 7) == 0
        check(memory, 8, 7)
        print("right")
        memory.close()
        memory.unlink()
"""
)


def test_a_release_sends_no_data_and_what_is_kept_is_bounded(run_script: RunScript) -> None:
    done = run_script(KEEPS, local=3)
    assert done.check().lines() == ["sent [0, 0] True", "asked True", "kept True", "right"]


LOSES = (
    COMMON
    + """
    def touch(memory, page):
        return memory.buf[page * PAGE]

    if __name__ == "__main__":
        memory = mp.SharedMemory(create=True, size=PAGES * PAGE, home="homeless")
        assert run(1, mark, memory, 3) == run(2, touch, memory, 0) == 0
        print("ready=1", flush=True)
        while 1 in mp.hosts():
            time.sleep(0.01)
        ended = run(2, touch, memory, PAGES - 1)
        print("lost", ended in (-signal.SIGBUS, -signal.SIGKILL))
        print("copy", run(2, touch, memory, 0))
"""
)


def test_what_a_host_that_dies_had_kept_is_lost_by_name(run_script: RunScript) -> None:
    running = run_script.start(LOSES, local=3)
    running.number("ready")
    send(commands_of(running.pid)["agent1"], signal.SIGKILL)
    done = running.wait(60).check()
    assert done.lines()[1:] == ["lost True", "copy 0"]
    assert "page 499, whose only copy was on host 1, which was lost" in done.err


def test_other_models_refuse_it(run_script: RunScript) -> None:
    script = """
        import dsmproc as mp

        try:
            mp.SharedMemory(create=True, size=10, home="homeless")
        except ValueError as error:
            print(error)
    """
    done = run_script(script, local=2, env={"DSMPROC_CONSISTENCY": "ec"})
    assert done.check().lines() == [
        "home=homeless goes with the consistency models lrc and erc, not with ec"
    ]
