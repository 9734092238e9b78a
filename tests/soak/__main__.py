"""Programs from a grammar, each with an oracle, for so long; or one of them again.

    python -m tests.soak --minutes N --seed S
    python -m tests.soak --replay CASE [--times N] [--set hosts=3 ...] [--plain]

A case names the program and its configuration. How its processes met cannot be replayed, so a
replay runs it several times and says how often it fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from . import grammar, known, losses, users
from .case import Outcome, run
from .configuration import Configuration

LOSES = 4  # programs, and then one that loses a host


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--edge", choices=list(grammar.EDGES), help="programs of this edge alone")
    parser.add_argument("--replay", metavar="CASE", help="this case, several times")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="another configuration"
    )
    parser.add_argument("--plain", action="store_true", help="with the standard library")
    parsed = parser.parse_args()
    if parsed.plain and (parsed.replay or "").startswith(losses.PREFIX):
        parser.error("the standard library has no hosts to lose")
    return parsed


def changed(drawn: Configuration, words: list[str]) -> Configuration:
    """The configuration with what --set says."""
    values: dict[str, Any] = dataclasses.asdict(drawn)
    for word in words:
        name, _, value = word.partition("=")
        if name not in values:
            raise SystemExit(f"--set {word}: there are {', '.join(values)}")
        kind = type(values[name])
        values[name] = value == "True" if kind is bool else kind(value)
    return Configuration(**values)


class Soak:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.verdicts: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.seen: dict[str, Counter[str]] = {}
        self.turns = self.moves = 0

    def case(self, case: str) -> Outcome | None:
        """Run it and say how it went; None if it cannot run here."""
        where = changed(known.where(case), self.args.set)
        loses = case.startswith(losses.PREFIX)
        parts = [] if loses else known.program(case).parts
        edges = ["lost"] if loses else sorted({part.edge for part in parts})
        why_not = users.why_not() if where.user == "other" else None
        if why_not:
            self.skipped[why_not] += 1
            print(f"{case:14} skipped: {why_not}", flush=True)
            return None
        outcome = run(case, where, self.args.plain)
        verdict, text, turns, moves, seconds = outcome
        self.verdicts[verdict] += 1
        self.turns, self.moves = self.turns + turns, self.moves + moves
        self._note({} if self.args.plain else dataclasses.asdict(where), edges)
        place = "the standard library" if self.args.plain else where
        print(
            f"{case:14} {verdict:11} {turns:6} turns {moves:6} moves {seconds:5.1f} s"
            f"  {'+'.join(edges)}; {place}",
            flush=True,
        )
        if verdict != "right":
            print(f"{text}\nreplay: {self.command(case)}", flush=True)
        return outcome

    def command(self, case: str) -> str:
        words = ["python -m tests.soak --replay", case]
        words += ["--set", *self.args.set] if self.args.set else []
        words += ["--plain"] if self.args.plain else []
        return " ".join(words)

    def _note(self, where: dict[str, object], edges: list[str]) -> None:
        for name, value in where.items():
            self.seen.setdefault(name, Counter())[str(value)] += 1
        self.seen.setdefault("edge", Counter()).update(edges)

    def summary(self) -> bool:
        """Whether all was right, and something was."""
        print(f"\n{self.verdicts.total()} runs, {self.turns} turns, {self.moves} moves: ", end="")
        print(", ".join(f"{count} {verdict}" for verdict, count in self.verdicts.items()) or "none")
        for name, counts in self.seen.items():
            print(f"  {name:8}", ", ".join(f"{v or '-'} {n}" for v, n in sorted(counts.items())))
        for reason, count in self.skipped.items():
            print(f"  skipped {count}: {reason}")
        return set(self.verdicts) == {"right"}


def cases(edge: str | None, seed: int) -> Iterator[str]:
    """The known ones, several times; then new ones without end, some of which lose a host."""
    if edge is None:
        yield from list(known.KNOWN) * known.TIMES
    for number in itertools.count():
        if edge is None and number % LOSES == 0:
            yield f"{losses.PREFIX}{seed}.{number}"
        yield f"{edge}:{seed}.{number}" if edge else f"{seed}.{number}"


def main() -> int:
    args = arguments()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # what runs ends, too
    soak = Soak(args)
    if args.replay:
        for _ in range(args.times):
            soak.case(args.replay)
    else:
        until = time.monotonic() + args.minutes * 60
        for case in cases(args.edge, args.seed):
            if time.monotonic() >= until:
                break
            soak.case(case)
    return 0 if soak.summary() else 1


if __name__ == "__main__":
    sys.exit(main())
