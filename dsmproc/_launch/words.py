"""What the commands say: in lines on stderr, where other processes write as well, and how numbers
stand in them."""

from __future__ import annotations

import sys

__all__ = ["age", "say", "size"]


def say(text: str, who: str = "dsmproc") -> None:
    """One line in one write: `print` writes its end apart, and another's line may come between."""
    if sys.stderr is not None:
        sys.stderr.write(f"{who}: {text}\n")
        sys.stderr.flush()


def size(count: int) -> str:
    """A number of bytes for people: 512, 1.5K, 20M."""
    amount, units = float(count), iter("KMGT")
    unit = ""
    while amount >= 1000 and unit != "T":
        amount, unit = amount / 1024, next(units)
    return f"{amount:.1f}{unit}" if unit and amount < 10 else f"{amount:.0f}{unit}"


def age(seconds: float) -> str:
    """A span of time for people: 12 s, 3 min, 2 h, 5 d."""
    for name, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} s"
