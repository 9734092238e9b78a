"""Seconds of the ancestors' programs, home policy against home policy.

    python -m dsmproc.bench policies [--rounds N] [--policies P,...] [--programs N,...] [--out docs]

One cluster of four local hosts of one slot, the tick off. Each round runs each program under each
policy, one right after the other and in another order each time: seconds of different minutes do
not compare, so what counts is the ratio of the default to the policy within a round. Printed are
the medians of both, and the quartiles of the ratio.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pathlib
import random
import statistics
import sys

import dsmproc

from . import _report
from .protocols import EXAMPLES, HOMES, HOSTS, PROGRAMS, circumstances

DEFAULT = "adaptive"
Seconds = dict[str, dict[str, list[float]]]  # program -> policy -> seconds of each round


def measure(rounds: int, policies: list[str], programs: list[str]) -> Seconds:
    os.environ |= {"DSMPROC_TICK": "0", "DSMPROC_PLACE": "spread"}
    sys.path.insert(0, str(EXAMPLES))
    found: Seconds = {name: {policy: [] for policy in policies} for name in programs}
    order = random.Random(1)
    with dsmproc.init(local=HOSTS, slots=1):
        importlib.import_module("patterns").run(HOSTS, "nothing")  # zygotes, the programs' files
        for number in range(rounds + 1):  # the first one is not counted
            for name in programs:
                for policy in order.sample(policies, len(policies)):
                    os.environ["DSMPROC_HOME"] = policy  # of the regions made from now on
                    seconds = importlib.import_module(name).run(HOSTS)
                    if number:
                        found[name][policy].append(seconds)
    return found


def ratios(found: Seconds, name: str, policy: str) -> tuple[float, float, float]:
    """Seconds of the default over those of the policy: lower quartile, median, upper quartile."""
    pairs = zip(found[name][DEFAULT], found[name][policy], strict=True)
    low, middle, high = statistics.quantiles([ours / theirs for ours, theirs in pairs], n=4)
    return low, middle, high


def table(where: str, found: Seconds, rounds: int) -> str:
    policies = list(next(iter(found.values())))
    lines = [f"{where}; {rounds} rounds.", ""]
    lines += ["| program | " + " | ".join(f"`{p}`" for p in policies) + " |"]
    lines += ["|" + " --- |" * (len(policies) + 1)]
    for name, seconds in found.items():
        cells = []
        for policy in policies:
            cell = f"{statistics.median(seconds[policy]):.3f}"
            if policy != DEFAULT:
                low, middle, high = ratios(found, name, policy)
                cell += f"; {middle:.2f} ({low:.2f} to {high:.2f})"
            cells.append(cell)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m dsmproc.bench policies", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--policies", default=",".join(HOMES))
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--out", type=pathlib.Path, help="folder of results.md")
    args = parser.parse_args(arguments)
    policies = args.policies.split(",")
    if DEFAULT not in policies or args.rounds < 2:
        parser.error(f"two rounds at least, and {DEFAULT} among the policies")
    where = circumstances()
    text = table(where, measure(args.rounds, policies, args.programs.split(",")), args.rounds)
    print(text)
    if args.out:
        _report.replace(args.out / "results.md", "policies", text)
    return 0
