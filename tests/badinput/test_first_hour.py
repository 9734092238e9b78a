"""What goes wrong in a newcomer's first hour: one sentence, with the remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ByHand, RunScript, run_dsmproc, run_python

import dsmproc

ROOT = Path(dsmproc.__file__).parents[1]
PYTHON = sys.executable


def only_line(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    assert done.returncode == code and not done.stdout, done
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("command", ["bdist_wheel", "editable_wheel"])
def test_no_compiler(command: str, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    shutil.copytree(ROOT / "dsmproc", folder / "dsmproc")
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    done = subprocess.run(
        [PYTHON, "setup.py", "-q", command],
        cwd=folder,
        env={**os.environ, "CC": "no-such-compiler"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert done.returncode and last.startswith("dsmproc needs a C compiler"), done
    assert "'no-such-compiler'" in last and "apt install gcc" in last


def test_no_extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named before anything starts; what needs no cluster works."""
    without = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "dsmproc", tmp_path / "dsmproc", ignore=without)
    monkeypatch.chdir(tmp_path)
    sentence = f"dsmproc's C extension is not built for {PYTHON}: run `pip install .`"
    for command in (["run", "--local", "2", os.devnull], ["head"], ["agent", "--join", "h:1"]):
        assert sentence in only_line(run_dsmproc(*command))
    code = "import dsmproc; dsmproc.init(local=2)"
    done = run_python("-c", code)
    assert done.returncode == 1 and sentence in done.stderr.splitlines()[-1]
    code = "import dsmproc; print(dsmproc.Pool(1).map(abs, [-1]), dsmproc.hosts())"
    assert run_python("-c", code).stdout == "[1] [0]\n"


def test_no_head_yet(tmp_path: Path) -> None:
    """Neither its key, nor the head itself."""
    status = ["status", "--address", "127.0.0.1:1"]
    line = only_line(run_dsmproc(*status, HOME=str(tmp_path), DSMPROC_AUTHKEY_FILE=""))
    assert f"{tmp_path}/.dsmproc/authkey" in line and "`dsmproc head` makes one" in line
    key = tmp_path / "key"
    key.write_text("k" * 64)
    key.chmod(0o600)
    line = only_line(run_dsmproc(*status, DSMPROC_AUTHKEY_FILE=str(key)))
    assert "Connection refused (is `dsmproc head` running there?)" in line


def test_a_misspelt_setting(run_script: RunScript) -> None:
    """By whoever starts the cluster, once, and not by each process of it."""
    text = "import dsmproc as mp; mp.init(local=2); mp.Pool(2).map(abs, [1]); print(mp.hosts())"
    wrong = {"DSMPROC_HOEM": "fixed", "DSMPROC_XYZ": "1"}
    for local, hosts in ((2, "[0, 1]"), (None, "[0, 1]")):
        result = run_script(text, local=local, env=wrong)
        assert result.code == 0 and result.lines() == [hosts], result
        said = [line for line in result.err.splitlines() if " is no setting of dsmproc: " in line]
        assert len(said) == 2, result.err
        assert "DSMPROC_HOEM is no setting of dsmproc: did you mean DSMPROC_HOME?" in said[0]
        assert said[1].endswith(
            "DSMPROC_XYZ is no setting of dsmproc: docs/settings.md has them all"
        )


def test_a_second_init_that_asks_for_something_else(run_script: RunScript) -> None:
    text = """
        import warnings
        import dsmproc as mp

        if __name__ == "__main__":
            warnings.simplefilter("error")
            for arguments in ({}, {}, {"slots": 1}, {"local": 3, "slots": 2}):
                try:
                    mp.init(**{"local": 2, **arguments})
                except UserWarning as warning:
                    print(warning)
            print(mp.hosts())
    """
    alone = run_script(text, local=None).check().lines()
    assert len(alone) == 3 and alone[2] == "[0, 1]", alone
    assert "so slots=1 has no effect: shutdown() ends that one" in alone[0]
    assert "so local=3, slots=2 has no effect" in alone[1]
    assert run_script(text, local=1).check().lines() == ["[0]"]  # it may be run either way


def test_no_script() -> None:
    """No cluster is started for it."""
    done = run_dsmproc("run", "--local", "2", "no-such.py", DSMPROC_LOG="info")
    assert only_line(done) == "dsmproc: there is no script 'no-such.py'"


def test_code_on_the_command_line() -> None:
    code = "import sys, dsmproc; print(sys.argv, dsmproc.hosts(), dsmproc.Pool(1).map(abs, [-2]))"
    done = run_dsmproc("run", "--local", "2", "-c", code, "-x", "y")
    assert done.returncode == 0 and done.stdout == "['-c', '-x', 'y'] [0, 1] [2]\n", done


def test_the_version() -> None:
    done = run_dsmproc("--version")
    assert done.returncode == 0 and done.stdout == f"dsmproc {dsmproc.__version__}\n"


@pytest.mark.parametrize("command", ["run", "head", "agent", "status", "doctor"])
def test_help_has_examples(command: str) -> None:
    done = run_dsmproc(command, "--help")
    assert done.returncode == 0 and f"  dsmproc {command}" in done.stdout


def test_help_is_for_people() -> None:
    assert "serve" not in run_dsmproc("--help").stdout


def test_status(by_hand: ByHand, run_script: RunScript) -> None:
    """Who is there, for how long, with how much memory, and which programs run."""
    running = run_script.start(
        """
        import sys
        import dsmproc as mp
        shm = mp.SharedMemory(create=True, size=3 << 20)
        shm.buf[:] = bytes([1]) * len(shm.buf)
        print("written", flush=True)
        sys.stdin.read()
        shm.unlink()
        """,
        address=by_hand.address,
        terminal=True,
    )
    running.read_until("written")
    host = by_hand.status()["hosts"][0]
    assert host["memory"] == 3 << 20 and 0 < host["bytes_sent"] < 1 << 20
    lines = run_dsmproc("status", "--address", by_hand.address).stdout.splitlines()
    assert lines[0].startswith(f"master {by_hand.address}") and ", up " in lines[0]
    assert lines[1].startswith("driver script.py on host 0 (pid ")
    assert "3.0M/" in lines[3] and os.uname().nodename in lines[3] and lines[3].endswith("ready")
    running.type(b"\x04")
    running.wait().check()
