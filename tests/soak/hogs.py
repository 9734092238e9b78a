"""A processor hog: computes until its standard input is closed, as it is when its starter ends.

python -m tests.soak.hogs
"""

from __future__ import annotations

import select
import sys


def main() -> None:
    while not select.select([sys.stdin], [], [], 0)[0]:
        sum(range(100_000))


if __name__ == "__main__":
    main()
