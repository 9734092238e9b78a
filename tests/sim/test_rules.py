"""Each rule is needed: without it the swarm finds a wrong value, with it the same seeds pass.

The bounds are some three times the seeds that it took when this was written: ACK 27, FLUSH 1,
CROSSED 819 (policy first), ONE_DIFF 39, BYTES 1, FETCHED 1, OWED 81 (fixed), TWO_NUMBERS 0,
CLAIM 4, LATE 1, OVERLAP 1174 (adaptive), OTHER_HOST 0, LOOK 85, FORWARD 3, COUNTED 44.
"""

from __future__ import annotations

import pytest

from .swarm import RULES, Options, run_seeds

BOUND = {"CROSSED": 1500, "OVERLAP": 2500, "ONE_DIFF": 200, "OWED": 300, "ACK": 200, "LOOK": 300}
BOUND |= {"FORWARD": 200, "COUNTED": 300}
POLICY = {"CROSSED": "first", "OVERLAP": "adaptive", "OWED": "fixed"}  # where it shows soonest


@pytest.mark.parametrize("rule", RULES)
def test_without_the_rule_a_wrong_value_is_read(rule: str) -> None:
    bound, policy = BOUND.get(rule, 100), POLICY.get(rule)
    off = run_seeds(range(bound), Options(policy, RULES.index(rule), stale=True))
    assert off.failed is not None, f"{bound} worlds without {rule} read only right values"
    assert off.text.startswith("StaleRead"), off.text
    on = run_seeds(range(max(0, off.failed - 50), off.failed + 1), Options(policy))
    assert on.failed is None, on.text
