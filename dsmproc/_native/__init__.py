"""The native code: protocol core, engine and clients, and what binds them to Python."""

from __future__ import annotations

import importlib.util
import sys

from ..errors import ClusterError


def check_built() -> None:
    """ClusterError where there can be no cluster: this is not Linux, or nothing was compiled."""
    if sys.platform != "linux":
        raise ClusterError(f"the hosts of a cluster run Linux, and this is {sys.platform}")
    if importlib.util.find_spec(f"{__name__}._engine") is None:
        raise ClusterError(
            f"dsmproc's C extension is not built for {sys.executable}: "
            "run `pip install .` with it in dsmproc's folder"
        )
