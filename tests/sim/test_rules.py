"""Each rule is needed: without it the swarm finds a wrong value, with it the same seeds pass.

The bounds are some three times the seeds that it took when this was written: ACK 14, FLUSH 2,
CROSSED 947, ONE_DIFF 84, BYTES 1, FETCHED 1, OWED 33, TWO_NUMBERS 0, CLAIM 4, LATE 1, OVERLAP 444,
OTHER_HOST 0.
"""

from __future__ import annotations

import pytest

from .swarm import RULES, Options, run_seeds

BOUND = {"CROSSED": 3000, "OVERLAP": 2000, "ONE_DIFF": 500, "OWED": 200, "ACK": 200}


@pytest.mark.parametrize("rule", RULES)
def test_without_the_rule_a_wrong_value_is_read(rule: str) -> None:
    bound = BOUND.get(rule, 100)
    off = run_seeds(range(bound), Options(off=RULES.index(rule), stale=True))
    assert off.failed is not None, f"{bound} worlds without {rule} read only right values"
    assert off.text.startswith("StaleRead"), off.text
    on = run_seeds(range(max(0, off.failed - 50), off.failed + 1), Options())
    assert on.failed is None, on.text
