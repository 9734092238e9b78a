"""Open files: agents and masters take all that they may, and say no before they have none left.

A process of theirs that asks for one too many gets one sentence; what is under way goes on with the
descriptors that are kept for it. Workers keep the limit with which the agent was started.
"""

from __future__ import annotations

import contextlib
import resource

SPARE = 48  # for what is under way, and for saying no
_before: tuple[int, int] | None = None


def take_all() -> None:
    """Raise the soft limit of this process to its hard one."""
    global _before
    _before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (_before[1], _before[1]))


def give_back(pid: int) -> None:
    """A child of ours has the limit that we had."""
    if _before is not None:
        with contextlib.suppress(OSError):  # it has ended
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _before)


def limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def scarce(lowest: int) -> bool:
    """Whether `lowest`, the descriptor that was opened last, is among the last ones."""
    return lowest >= limit() - SPARE


def refusal(whose: str) -> str:
    return (
        f"{whose} has nearly all of the {limit()} files open that it may: "
        "raise `ulimit -Hn` where the cluster is started"
    )
