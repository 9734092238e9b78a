"""The ancestors' programs, small, over every home policy; each checks its own result."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from dsmproc._settings import CHOICES
from dsmproc.bench import _report
from dsmproc.bench.protocols import MODELS

ROOT = pathlib.Path(__file__).resolve().parents[2]

ALL = """
import os, sys
sys.path.insert(0, {folder!r})
import buck, lu, merge, mm, patterns, rx, sor
import dsmproc

if __name__ == "__main__":
    for policy in {policies!r}:
        os.environ["DSMPROC_HOME"] = policy  # of the regions that this process makes
        dsmproc.stats(reset=True)
        for program, hosts, sizes in (
            (mm, 4, dict(n=64)),
            (merge, 4, dict(keys=32768)),
            (lu, 4, dict(n=24)),
            (rx, 2, dict(keys=16384)),
            (buck, 2, dict(keys=32768)),
            (sor, 2, dict(rows=40, iterations=3)),
        ):
            program.run(hosts, **sizes)
        moves = sum(counted["home_migrations"] for counted in dsmproc.stats().values())
        print("right", policy, moves, flush=True)
"""


def test_the_ancestors_programs_are_right_under_every_policy(run_script) -> None:
    folder = str(ROOT / "examples" / "jump")
    policies = sorted(CHOICES["DSMPROC_HOME"])
    done = run_script(
        ALL.format(folder=folder, policies=policies), local=4, env={"DSMPROC_PLACE": "spread"}
    )
    assert done.code == 0, done.err
    right = {line.split()[1]: int(line.split()[2]) for line in done.lines()}
    assert sorted(right) == policies
    moving = {policy for policy, moves in right.items() if moves}
    assert moving == {"barrier", "migrating", "adaptive"}


@pytest.mark.parametrize("model", MODELS)
def test_the_ancestors_programs_are_right_under_every_model(run_script, model: str) -> None:
    folder = str(ROOT / "examples" / "jump")
    done = run_script(
        ALL.format(folder=folder, policies=["adaptive"]),
        local=4,
        env={"DSMPROC_PLACE": "spread", "DSMPROC_CONSISTENCY": model},
    )
    assert done.code == 0, done.err
    assert done.lines()[-1].split()[:2] == ["right", "adaptive"]


def test_a_program_on_one_machine_is_the_same_file() -> None:
    done = subprocess.run(
        [sys.executable, "mm.py", "2"],
        cwd=ROOT / "examples" / "jump",
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("mm on 2 hosts: right")


def test_the_bench_writes_its_table_and_its_plots(tmp_path: pathlib.Path) -> None:
    counters = "messages_sent frames_sent bytes_sent read_faults write_faults pages_fetched"
    row = dict.fromkeys([*counters.split(), "diffs_sent", "home_migrations"], 1_500_000)
    figures = {policy: {"mm": {**row, "seconds": 2.0}} for policy in ("first", "adaptive")}
    saved = tmp_path / "figures.json"
    saved.write_text(json.dumps({"where": "Nowhere", "figures": figures}))
    (tmp_path / "generated").mkdir()
    documents = {"goals": tmp_path / "results.md", "protocols": tmp_path / "generated/programs.md"}
    for name, document in documents.items():
        marks = [mark.format(name) for mark in (_report.BEGIN, "old", _report.END)]
        document.write_text("\n".join(["before", *marks, "after"]))
    command = [sys.executable, "-m", "dsmproc.bench", "protocols", "--programs", "mm"]
    done = subprocess.run([*command, "--read", str(saved), "--out", str(tmp_path)], timeout=60)
    assert done.returncode == 0
    text = {name: document.read_text() for name, document in documents.items()}
    for one in text.values():
        assert one.startswith("before\n") and one.endswith("after") and "\nold" not in one
    assert "| mm | `adaptive` | 2.00 | 1500000 |" in text["protocols"]
    assert "| mm | 1.50 | 8.10 | 0.19 | 5.5 | 0.27 |" in text["goals"]
    for picture in ("seconds", "messages", "bytes"):
        drawn = (tmp_path / "pictures" / f"{picture}.svg").read_text()
        assert "mm, adaptive: 1.00" in drawn
