"""Cases that failed before a mend. They come first in each soak."""

from __future__ import annotations

KNOWN: dict[str, str] = {}
