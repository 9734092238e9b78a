"""Every call, interrupted at each of its moments by a signal handler that raises.

It ends with the handler's exception, and what the object promises holds afterwards. The processes
that interrupt are workers: what they have opened anew would look like a leak of the driver. What
they use is kept at the master, which is elsewhere, or was used last by another host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from interrupts import APART, SERVED, SYNC, find, join_process, memory_elsewhere
from interrupts_memory import MEMORY, close_memory, close_used_memory
from interrupts_messages import LOST, MESSAGES
from places import local_cluster, perform

# A message is lost if the handler raises after it has come and before the call returns. After how
# many moments that is so in the standard library (Python 3.11), by the same count.
STANDARD = {"get_queue": 12, "get_simple_queue": 12, "receive": 9}


def _whole(*makers: Any, step: int = 1) -> Callable[[Any], None]:
    def scenario(ctx: Any) -> None:
        wrong = {}
        for maker in makers:
            found = find(ctx, maker, step=step)
            assert found, f"{maker.__name__} has no moments"
            bad = {where: what for where, what in found.items() if what}
            lost = [what for what in bad.values() if what.endswith(LOST)]
            if len(bad) > len(lost) or len(lost) > STANDARD.get(maker.__name__, 0):
                wrong[maker.__name__] = bad
        assert not wrong, wrong

    return scenario


GROUPS = {"sync": SYNC, "messages": MESSAGES, "apart": APART}


@pytest.mark.parametrize("group", GROUPS)
def test_at_every_moment(cluster: None, group: str) -> None:
    perform("worker", _whole(*GROUPS[group]))


@pytest.mark.parametrize(
    "makers, step", [(SERVED, 3), ((join_process,), 8)], ids=["served", "join"]
)
def test_at_some_moments(cluster: None, makers: tuple[Any, ...], step: int) -> None:
    """Of calls for each of which much has to be made; the command has all of them."""
    perform("worker", _whole(*makers, step=step))


@pytest.mark.parametrize("mechanism", ["uffd", "segv"])
def test_memory(mechanism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every moment of a close and some of an attach; the command has all of them."""
    monkeypatch.setenv("DSMPROC_FAULTS", mechanism)
    with local_cluster():
        perform("worker", _whole(close_memory, close_used_memory, memory_elsewhere))
        perform("worker", _whole(*MEMORY, step=8))
