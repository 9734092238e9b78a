"""What one operation costs, as a ratio to a floor or a peer measured in the same run.

    python -m dsmproc.bench [--rounds N] [NAME ...]
    python -m dsmproc.bench protocols [--help]    programs over all home policies and models
    python -m dsmproc.bench policies [--help]     seconds of programs, policy against policy
    python -m dsmproc.bench speedup [--help]      programs on 1, 2, 4 and 8 hosts
    python -m dsmproc.bench states --out docs     pictures of the policies

Each figure is taken in rounds that alternate between the two sides, short operations in blocks of
20. Printed are the medians of both sides, the median ratio with its range, and `best`, the ratio of
the best of each side: what is left of a figure when others use the machine too. Processes are not
pinned: the machine's own placement is part of what a user sees.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import threading

import dsmproc

from . import (
    calls,
    mechanisms,
    memory,
    messages,
    policies,
    pools,
    programs,
    protocols,
    speedup,
    states,
    sync,
    tags,
)
from ._floors import Figure

FIGURES: dict[str, Figure] = {
    **memory.FIGURES,
    **mechanisms.FIGURES,
    **calls.FIGURES,
    **sync.FIGURES,
    **messages.FIGURES,
    **pools.FIGURES,
    **programs.FIGURES,
    **tags.FIGURES,
}


def measure(name: str, rounds: int) -> str:
    figure = FIGURES[name]
    samples = list(figure.samples(min(rounds, figure.rounds or rounds)))
    ours = [sample[0] for sample in samples]
    floors = [sample[1] for sample in samples]
    ratios = sorted(a / b for a, b in samples)
    best = max if figure.target.startswith(">") else min
    judged = {"/": "", "-": " beyond", "": " ours"}[figure.compare] if figure.target else ""
    return (
        f"{name:12} {statistics.median(ours):10.1f} {statistics.median(floors):10.1f}"
        f" {statistics.median(ratios):8.2f}  {f'({ratios[0]:.2f} .. {ratios[-1]:.2f})':18}"
        f" {best(ours) / best(floors):6.2f} "
        f" {figure.target + judged:13} {figure.what}"
    )


COMMANDS = {
    "protocols": protocols.main,
    "policies": policies.main,
    "speedup": speedup.main,
    "states": states.main,
}


def main() -> int:
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        return COMMANDS[sys.argv[1]](sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    unknown = set(args.names) - set(FIGURES)
    if unknown:
        parser.error(f"no figure called {', '.join(sorted(unknown))}")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{os.cpu_count()} cores, load {load}, Linux {platform.release()}, {args.rounds} rounds,"
        " medians; 4 hosts of one slot on this machine, nothing is pinned"
    )
    print(
        f"{'':12} {'ours':>10} {'floor/peer':>10} {'ratio':>8}  {'(range)':18} {'best':>6}  target"
    )
    with dsmproc.init(local=4, slots=1):
        for name in args.names or FIGURES:
            print(measure(name, args.rounds), flush=True)
    return 0


if __name__ == "__main__":
    assert threading.active_count() == 1  # the floors fork
    sys.exit(main())
