"""Golden scenarios: a text file is a row of commands and what happened at each.

    python -m tests.sim.golden [--rewrite]

Commands, after `> `: `HOST: OP; OP` as in a litmus file (one thread a host), `HOST: attach`,
`deliver FROM TO fast|bulk` (one message; `m` is the master), `lose HOST`, `leave HOST`, `quiet`
(whatever can move, moves, in a fixed order; then hosts that leave are gone, and those that are gone
are heard of). The head of the file has the lines `hosts`, `pages`, `bytes`, `locks`, `policy`.
Read the difference before you commit a rewritten file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from dsmproc._native._core import lib as C

from . import thread as op
from .binding import Core
from .explore import REGION, LitmusThread, LitmusWorld, Script, parse_lines
from .trace import Trace
from .world import MASTER, end, hear, leave

HERE = Path(__file__).parent / "scenarios"
CHANNELS = {"fast": C.DSM_FAST, "bulk": C.DSM_BULK}


class Hand(Script):
    """A program that is given out step by step."""

    def __init__(self, world: LitmusWorld) -> None:
        super().__init__(world, [])
        self.steps.clear()

    def send(self, value: Any) -> Any:
        if self.at >= len(self.steps):
            return ("idle",)
        return super().send(value)


class ScenarioThread(LitmusThread):
    def try_idle(self) -> bool:
        assert isinstance(self.program, Hand)
        if self.program.at < len(self.program.steps):
            self.advance(None)
        else:
            self.pause()
        return True


class ScenarioWorld(LitmusWorld):
    def __init__(self, head: list[str]) -> None:
        (policy,) = [line.split()[1] for line in head if line.startswith("policy")]
        litmus = parse_lines("", [line for line in head if not line.startswith("policy")])
        super().__init__(litmus, Core(), policy, hot=0)
        for host in self.hosts:
            thread = ScenarioThread(self, self.add_client(host, 0), host.number)
            self.threads.append(thread)
            thread.start(Hand(self))  # type: ignore[arg-type]
        self.quiet()

    def do(self, command: str) -> None:
        first, _, rest = command.partition(" ")
        if command == "quiet":
            self.quiet()
        elif first == "deliver":
            source, to, channel = rest.split()
            ends = [MASTER if end == "m" else int(end) for end in (source, to)]
            self.deliver((ends[0], ends[1], CHANNELS[channel]))
            self.run_threads()
        elif first == "lose":
            self.threads[int(rest)].try_die()
        elif first == "leave":
            leave(self, self.hosts[int(rest)])
        else:
            thread = self.threads[int(first.rstrip(":"))]
            assert isinstance(thread.program, Hand)
            for item in rest.split(";"):
                if item.strip() == "attach":
                    thread.program.add((op.ATTACH, REGION))
                else:
                    thread.program.compile(item.strip())
            thread.wake()
            self.run_threads()

    def run_threads(self) -> None:
        while self.runnable:
            self.runnable[0].attempt()

    def quiet(self) -> None:
        self.run_threads()
        while self.move():
            self.run_threads()

    def move(self) -> bool:
        more = [host for host in self.hosts if host.more]
        if self.active:
            self.deliver(sorted(self.active)[0])
        elif more:
            self.take(more[0])
        elif self.departing:
            end(self, self.departing[0])
        elif self.mourners:
            hear(self, *self.mourners[0])
        else:
            return False
        return True


def play(path: Path) -> str:
    """The file as it should be."""
    lines = path.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(">"))
    world = ScenarioWorld([line for line in lines[:start] if line and line[0] != "#"])
    text = lines[:start]
    for line in lines[start:]:
        if line.startswith("#"):
            text.append(line)
        if not line.startswith(">"):
            continue
        world.trace = Trace()
        world.do(line[1:].strip())
        text += [line, *(what for what, _ in world.trace.lines), ""]
    return "\n".join(text)


def main() -> int:
    wrong = 0
    for path in sorted(HERE.glob("*.txt")):
        text = play(path)
        if text == path.read_text():
            continue
        wrong += 1
        if "--rewrite" in sys.argv:
            path.write_text(text)
        print(path.name, "rewritten" if "--rewrite" in sys.argv else "differs")
    return 0 if "--rewrite" in sys.argv else wrong


if __name__ == "__main__":
    sys.exit(main())
