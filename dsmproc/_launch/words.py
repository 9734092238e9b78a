"""What the commands say of themselves on stderr, where other processes write as well."""

from __future__ import annotations

import sys

__all__ = ["say"]


def say(text: str, who: str = "dsmproc") -> None:
    """One line in one write: `print` writes its end apart, and another's line may come between."""
    if sys.stderr is not None:
        sys.stderr.write(f"{who}: {text}\n")
        sys.stderr.flush()
