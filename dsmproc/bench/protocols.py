"""The ancestors' programs over every home policy and consistency model, beside the ancestors.

    python -m dsmproc.bench protocols [--systems S,...] [--programs N,...] [--rounds N] [--out docs]

Each has a cluster of its own: four hosts of one slot on this machine, the polling tick off. The
programs are those of examples/jump, which check their own results. Rounds go over all systems in
turn, and each figure is the median of its rounds. With `--out` the tables in that folder's
results.md and generated/programs.md are replaced and the plots beside them are drawn again.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from typing import Any

import dsmproc

from . import _report

HOSTS = 4
# Home policies are run under lazy release consistency, the other models with adaptive homes.
HOMES = ("first", "fixed", "barrier", "migrating", "adaptive", "homeless")
MODELS = ("scc", "erc", "ec", "sc")
PROGRAMS = ("mm", "merge", "rx", "buck", "lu", "sor")
PATTERNS = (
    "first_touch",
    "read_shared",
    "producer_consumer",
    "migratory",
    "false_sharing",
    "private",
    "nothing",
)
LIMIT = 240  # seconds that all programs of one system may take
EXAMPLES = pathlib.Path(dsmproc.__file__).parents[1] / "examples" / "jump"


def measure(name: str) -> dict[str, Any]:
    """Run one program on this process's cluster: seconds of its main part, all its counters."""
    module = importlib.import_module(name if name in PROGRAMS else "patterns")
    dsmproc.stats(reset=True)
    started = time.perf_counter()
    seconds = module.run(HOSTS) if name in PROGRAMS else module.run(HOSTS, name)
    row: dict[str, Any] = {"seconds": seconds, "whole": time.perf_counter() - started}
    for counters in dsmproc.stats().values():
        for counter, value in counters.items():
            row[counter] = row.get(counter, 0) + value
    return row


def measure_all(names: list[str]) -> int:
    """In a process of its own, whose environment names the policy: a line of JSON a program."""
    sys.path.insert(0, str(EXAMPLES))
    with dsmproc.init(local=HOSTS, slots=1):
        importlib.import_module("patterns").run(HOSTS, "nothing")  # zygotes, the programs' files
        for name in names:
            print(json.dumps({"program": name, **measure(name)}), flush=True)
    return 0


def collect(system: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """program -> what was measured; a program that failed, and those behind it, are missing."""
    command = [sys.executable, "-m", "dsmproc.bench", "protocols", "--here", ",".join(names)]
    settings = {"DSMPROC_TICK": "0", "DSMPROC_PLACE": "spread"}
    settings["DSMPROC_HOME"] = system if system in HOMES else "adaptive"
    settings["DSMPROC_CONSISTENCY"] = system if system in MODELS else "lrc"
    try:
        done = subprocess.run(
            command, env={**os.environ, **settings}, stdout=subprocess.PIPE, timeout=LIMIT
        )
        out = done.stdout
    except subprocess.TimeoutExpired as late:
        print(f"{system}: not done after {LIMIT} s", file=sys.stderr)
        out = late.stdout or b""
    rows = [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]
    return {row.pop("program"): row for row in rows}


def medians(rounds: list[dict[str, dict[str, Any]]], names: list[str]) -> dict[str, dict[str, Any]]:
    """program -> counter -> median; a program that failed in a round is missing."""
    done = [name for name in names if all(name in rows for rows in rounds)]
    return {
        name: {
            counter: statistics.median([rows[name][counter] for rows in rounds])
            for counter in rounds[0][name]
        }
        for name in done
    }


def circumstances() -> str:
    load = os.getloadavg()[0]
    return (
        f"{HOSTS} local hosts of one slot, tick off, {os.cpu_count()} cores with a load of"
        f" {load:.0f}, Linux {platform.release()}, Python {platform.python_version()}"
    )


def run(systems: list[str], names: list[str], rounds: int) -> dict[str, Any]:
    where = circumstances() + (f"; medians of {rounds} rounds" if rounds > 1 else "")
    found: dict[str, list[dict[str, dict[str, Any]]]] = {system: [] for system in systems}
    for _ in range(rounds):
        for system in systems:
            found[system].append(collect(system, names))
    return {"where": where, "figures": {s: medians(found[s], names) for s in systems}}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m dsmproc.bench protocols", description=__doc__)
    parser.add_argument("--systems", default=",".join(HOMES + MODELS), help="homes and models")
    parser.add_argument("--programs", default=",".join(PROGRAMS + PATTERNS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, help="folder of results.md")
    parser.add_argument("--save", type=pathlib.Path, help="also write the figures as JSON")
    parser.add_argument("--read", type=pathlib.Path, help="figures saved before; nothing is run")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.here:
        return measure_all(args.here.split(","))
    if args.read:
        saved = json.loads(args.read.read_text())
    else:
        saved = run(args.systems.split(","), args.programs.split(","), args.rounds)
    if args.save:
        args.save.write_text(json.dumps(saved))
    print(_report.table(saved["where"], saved["figures"]))
    if args.out:
        _report.write(args.out, saved["where"], saved["figures"])
    every = args.programs.split(",")
    return 0 if all(len(rows) == len(every) for rows in saved["figures"].values()) else 1
