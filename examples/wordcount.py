"""Count the words of a directory of text: read on the driver, counted on the hosts.

    python examples/wordcount.py [DIRECTORY] [--processes N]                  on this machine
    dsmproc run --local 3 examples/wordcount.py [DIRECTORY] [--processes N]   on three hosts

The same file does both: without a cluster every name of dsmproc is the standard library's.
"""

import argparse
import collections
import pathlib
import re
import sys
import sysconfig
import time

import dsmproc as multiprocessing

WORD = re.compile(r"[A-Za-z]+")


def count_words(text: str) -> tuple[int, collections.Counter]:
    """The words of one piece of text, and the host that counted them."""
    words = collections.Counter(word.lower() for word in WORD.findall(text))
    return multiprocessing.current_host(), words


def read_pieces(directory: pathlib.Path, piece: int = 1 << 18) -> list[str]:
    """All text files below `directory`, joined into pieces of about `piece` characters."""
    pieces, current, length = [], [], 0
    for path in sorted(directory.rglob("*")):
        if path.suffix not in (".py", ".txt", ".rst", ".md") or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        current.append(text)
        length += len(text)
        if length >= piece:
            pieces.append("\n".join(current))
            current, length = [], 0
    return pieces + (["\n".join(current)] if current else [])


def count(pieces: list[str], processes: int | None = None) -> tuple[collections.Counter, dict]:
    """The words of all pieces, and how many pieces each host counted."""
    total: collections.Counter = collections.Counter()
    tasks: collections.Counter = collections.Counter()
    watched = sys.stdout.isatty()
    with multiprocessing.Pool(processes) as pool:
        for done, (host, words) in enumerate(pool.imap_unordered(count_words, pieces), 1):
            total.update(words)
            tasks[host] += 1
            if watched:
                print(f"\r  counted {done} of {len(pieces)} pieces", end="", flush=True)
    if watched:
        print()
    return total, dict(tasks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?", default=sysconfig.get_paths()["stdlib"])
    parser.add_argument("--processes", type=int)
    args = parser.parse_args()
    pieces = read_pieces(pathlib.Path(args.directory))
    size = sum(map(len, pieces)) / 1e6
    started = time.perf_counter()
    words, tasks = count(pieces, args.processes)
    seconds = time.perf_counter() - started
    print(
        f"  {sum(words.values())} words, {len(words)} different, {size:.1f} MB in {seconds:.2f} s"
    )
    print("  most common:", ", ".join(f"{word} {n}" for word, n in words.most_common(5)))
    print("  pieces per host:", tasks)


if __name__ == "__main__":
    main()
