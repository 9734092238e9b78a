"""Random worlds: no seed may find a value that a correct machine could not return."""

from __future__ import annotations

import pytest

from .swarm import RULES, Options, replay_command, run_seeds
from .world import POLICIES

WORLDS = 300  # a million steps of each by `make sim`


@pytest.mark.parametrize("policy", list(POLICIES))
def test_random_worlds_read_only_right_values(policy: str) -> None:
    options = Options(policy)
    result = run_seeds(range(WORLDS), options)
    assert result.failed is None, f"{result.text}\nreplay: {replay_command(result.failed, options)}"
    assert result.worlds == WORLDS
    assert result.deliveries > 100 * WORLDS  # they did talk to each other


@pytest.mark.parametrize("policy", list(POLICIES))
def test_worlds_whose_hosts_die_or_leave_read_only_right_values(policy: str) -> None:
    """Or none at all: a page may be lost with a host that died, never with one that left."""
    options = Options(policy, grim=True)
    result = run_seeds(range(WORLDS // 3), options)
    assert result.failed is None, f"{result.text}\nreplay: {replay_command(result.failed, options)}"


def test_worlds_that_iterate_read_only_right_values() -> None:
    """Neighbours read each other's bands at each barrier: their homes feed them (feed.c)."""
    options = Options("adaptive", bands=True)
    result = run_seeds(range(WORLDS // 3), options)
    assert result.failed is None, f"{result.text}\nreplay: {replay_command(result.failed, options)}"


# A byte that is soon what it was before: what was given meanwhile differs from it, a twin does not.
# Without rule LENT found after 35 (bands), 271, 116, 110, 143 (ec) and 298 (erc) worlds.
@pytest.mark.parametrize(
    "options",
    [
        Options("adaptive", bands=True, values=2),
        Options("adaptive", values=2),
        Options("homeless", values=2),
        Options("homeless", grim=True, values=2),
        Options("migrating", values=2),
        Options(model="ec", values=2),
        Options(model="erc", values=2),
    ],
    ids=lambda o: f"{o.policy or o.model}{'-bands' * o.bands}{'-grim' * o.grim}",
)
def test_bytes_that_come_back_to_what_they_were(options: Options) -> None:
    result = run_seeds(range(WORLDS), options)
    assert result.failed is None, f"{result.text}\nreplay: {replay_command(result.failed, options)}"


# What holds for bound pages holds for fed ones: found here after 6, 39, 0, 0 and 155 worlds.
@pytest.mark.parametrize("rule", ["SINCE", "ONCE", "WATCHED", "TWINNED", "APART"])
def test_worlds_that_iterate_need_the_rules_of_updates(rule: str) -> None:
    options = Options("adaptive", RULES.index(rule), stale=True, bands=True)
    result = run_seeds(range(400), options)
    assert result.failed is not None, f"400 worlds without {rule} read only right values"
    assert result.text.startswith("StaleRead"), result.text


@pytest.mark.parametrize("grim", [False, True])
@pytest.mark.parametrize("model", ["scc", "erc", "sc"])
def test_random_worlds_under_other_models(model: str, grim: bool) -> None:
    """What is used under locks is used under the same ones always."""
    options = Options(model=model, grim=grim)
    result = run_seeds(range(WORLDS // 2), options)
    assert result.failed is None, f"{result.text}\nreplay: {replay_command(result.failed, options)}"


# Worlds that failed once: a release of another host lost behind one that came in the same step.
# A diff of a host that had died, after others had written the same bytes (core/cut.c).
# A page whose home a notice had named was sought still, and its home asked for.
# Homeless: a base that was asked before a writer left did not have its diffs, asked again it has.
# A leaving host offered its page to hosts that all had a diff of it on their way there, for ever.
@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (50492, Options("adaptive", model="scc")),
        (61524, Options(model="erc")),
        (30433, Options("migrating", grim=True)),
        (40322, Options("homeless", grim=True)),
        (42330, Options("homeless", grim=True)),
        (40733, Options("fixed", grim=True)),
    ],
)
def test_worlds_that_failed_once(seed: int, options: Options) -> None:
    result = run_seeds(range(seed, seed + 1), options)
    assert result.failed is None, f"{result.text}\nreplay: {replay_command(seed, options)}"


def test_random_worlds_under_entry_consistency() -> None:
    """All that is used under a lock is bound to it, on pages that others use too."""
    options = Options(model="ec")
    result = run_seeds(range(WORLDS), options)
    assert result.failed is None, f"{result.text}\nreplay: {replay_command(result.failed, options)}"


def test_what_is_not_bound_is_read_stale_under_entry_consistency() -> None:
    result = run_seeds(range(100), Options(model="ec", bound=False))
    assert result.failed is not None and result.text.startswith("StaleRead"), result.text
