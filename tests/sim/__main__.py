"""python -m tests.sim --seeds 0:1000 | --seeds 0: --steps N | --seed N   [--policy NAME]"""

from __future__ import annotations

import argparse
import sys

from .host import MODELS
from .swarm import RULES, Options, Result, explain, make_core, replay_command, run_seeds
from .world import POLICIES


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="one world, with its trace if it fails")
    parser.add_argument("--seeds", default="0:1000", help="a range of worlds, FIRST:END")
    parser.add_argument("--steps", type=int, help="worlds from FIRST on, until so many are done")
    parser.add_argument("--policy", choices=list(POLICIES), help="default: drawn by the seed")
    parser.add_argument("--model", choices=list(MODELS), default="lrc")
    parser.add_argument("--off", choices=RULES, help="run the mutation build without this rule")
    parser.add_argument("--stale", action="store_true", help="stop at wrong values only")
    parser.add_argument("--sanitize", action="store_true", help="run the sanitized build")
    parser.add_argument("--grim", action="store_true", help="worlds whose hosts die or leave")
    parser.add_argument("--bands", action="store_true", help="worlds that iterate, as stencils do")
    parser.add_argument("--lines", type=int, default=80, help="of the trace")
    parser.add_argument("--all", action="store_true", help="trace all pages")
    return parser.parse_args()


CHUNK = 2000  # worlds between two lines


def run_steps(first: int, steps: int, options: Options) -> Result:
    """So many steps, or up to the first failing seed; what is done is printed from time to time."""
    total, at = Result(), first
    while total.steps < steps and total.failed is None:
        part = run_seeds(range(at, at + CHUNK), options)
        at += CHUNK
        total.add(part)
        if part.failed is None:
            print(f"seeds {first}:{at}, {total.steps} steps, {total.seconds:.0f} s", flush=True)
    return total


def main() -> int:
    args = arguments()
    off = None if args.off is None else RULES.index(args.off)
    options = Options(args.policy, off, args.stale, args.sanitize, args.all, args.lines, args.grim)
    options.model, options.bands = args.model, args.bands
    if args.seed is not None:
        right, text = explain(make_core(off, args.sanitize), args.seed, options)
        print(text)
        return 0 if right else 1
    first, _, end = args.seeds.partition(":")
    if args.steps:
        result = run_steps(int(first), args.steps, options)
    else:
        result = run_seeds(range(int(first), int(end)), options)
    print(
        f"{result.worlds} worlds, {result.steps} steps, {result.deliveries} deliveries,"
        f" {result.seconds:.1f} s" + (f", {result.others} other failures" if result.others else "")
    )
    if result.failed is None:
        return 0
    print(f"seed {result.failed}: {result.text}\nreplay: {replay_command(result.failed, options)}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
