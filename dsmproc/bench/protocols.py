"""The ancestors' programs over every home policy: what each sends, beside what the ancestors sent.

    python -m dsmproc.bench protocols [--policies P,...] [--programs N,...] [--out docs]

Each policy has a cluster of its own: four hosts of one slot on this machine, the polling tick off.
The programs are those of examples/jump, which check their own results. With `--out` the table in
its protocols.md is replaced and the plots beside it are drawn again.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from typing import Any

import dsmproc

from . import _report

HOSTS = 4
POLICIES = ("first", "fixed", "barrier", "migrating", "adaptive")
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
LIMIT = 240  # seconds that all programs of one policy may take
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


def collect(policy: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """program -> what was measured; a program that failed, and those behind it, are missing."""
    command = [sys.executable, "-m", "dsmproc.bench", "protocols", "--here", ",".join(names)]
    settings = {"DSMPROC_HOME": policy, "DSMPROC_TICK": "0", "DSMPROC_PLACE": "spread"}
    try:
        done = subprocess.run(
            command, env={**os.environ, **settings}, stdout=subprocess.PIPE, timeout=LIMIT
        )
        out = done.stdout
    except subprocess.TimeoutExpired as late:
        print(f"{policy}: not done after {LIMIT} s", file=sys.stderr)
        out = late.stdout or b""
    rows = [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]
    return {row.pop("program"): row for row in rows}


def circumstances() -> str:
    load = os.getloadavg()[0]
    return (
        f"{HOSTS} local hosts of one slot, tick off, {os.cpu_count()} cores with a load of"
        f" {load:.0f}, Linux {platform.release()}, Python {platform.python_version()}"
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m dsmproc.bench protocols", description=__doc__)
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--programs", default=",".join(PROGRAMS + PATTERNS))
    parser.add_argument("--out", type=pathlib.Path, help="folder of protocols.md")
    parser.add_argument("--save", type=pathlib.Path, help="also write the figures as JSON")
    parser.add_argument("--read", type=pathlib.Path, help="figures saved before; nothing is run")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.here:
        return measure_all(args.here.split(","))
    if args.read:
        saved = json.loads(args.read.read_text())
    else:
        names = args.programs.split(",")
        saved = {"where": circumstances(), "figures": {}}
        for policy in args.policies.split(","):
            saved["figures"][policy] = collect(policy, names)
    if args.save:
        args.save.write_text(json.dumps(saved))
    print(_report.table(saved["where"], saved["figures"]))
    if args.out:
        _report.write(args.out, saved["where"], saved["figures"])
    every = args.programs.split(",")
    return 0 if all(len(rows) == len(every) for rows in saved["figures"].values()) else 1
