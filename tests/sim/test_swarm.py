"""Random worlds: no seed may find a value that a correct machine could not return."""

from __future__ import annotations

import pytest

from .swarm import Options, replay_command, run_seeds
from .world import POLICIES

WORLDS = 600  # and many more by `make sim`


@pytest.mark.parametrize("policy", list(POLICIES))
def test_random_worlds_read_only_right_values(policy: str) -> None:
    options = Options(policy)
    result = run_seeds(range(WORLDS), options)
    assert result.failed is None, f"{result.text}\nreplay: {replay_command(result.failed, options)}"
    assert result.worlds == WORLDS
    assert result.deliveries > 100 * WORLDS  # they did talk to each other
