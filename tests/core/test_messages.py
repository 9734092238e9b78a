"""Malformed messages are refused and change nothing, whatever state the node is in."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from dsmproc._native._core import lib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.sim.binding import ARENA, Core, Node  # noqa: E402
from tests.sim.draw import draw  # noqa: E402
from tests.sim.trace import MESSAGES  # noqa: E402
from tests.sim.world import World  # noqa: E402

MASTER = lib.DSM_MASTER


class Listener(World):
    """A world that keeps a copy of every message that was delivered."""

    def deliver(self, key: tuple[int, int, int]) -> None:
        self.__dict__.setdefault("heard", []).append((key, self.channels[key][0]))
        super().deliver(key)


@pytest.fixture(scope="module")
def world() -> Listener:
    """A world stopped in the middle of its work."""
    for seed in range(100):
        params, rng = draw(seed, "migrating")
        world = Listener(params, rng, Core())
        world.populate()
        while world.deliveries < 100 and (world.runnable or world.active):
            world.do_thread()
            world.do_net()
            world.do_inbox()
            world.do_more()
            if world.deliveries > 60:
                world.do_move()
        if world.deliveries >= 100 and world.runnable and world.active:
            return world
    raise AssertionError("no seed has a world that is busy for so long")


def nodes(world: World) -> list[tuple[Node, int]]:
    """Each node with a neighbour that may speak to it."""
    pairs = [(world.master, 0)]
    for host in world.hosts:
        pairs += [(host.node, MASTER), (host.node, (host.number + 1) % len(world.hosts))]
    return pairs


def say(node: Node, source: int, data: bytes) -> None:
    """Speak, expect a refusal that changes nothing, or let the node be as it was before."""
    before, arena = node.image(), node.core.ffi.buffer(node.arena, ARENA)
    whole = bytes(arena)
    status, _, _ = node.step(kind=lib.DSM_EV_MESSAGE, host=source, data=data)
    if status:
        assert status in (lib.DSM_E_PEER, lib.DSM_E_EVENT, lib.DSM_E_MEMORY)
        assert node.image() == before
    arena[:] = whole


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_arbitrary_messages(world: Listener, data: st.DataObject) -> None:
    node, source = data.draw(st.sampled_from(nodes(world)))
    kind = data.draw(st.sampled_from([*MESSAGES, 0, 99]))
    say(node, source, bytes([kind]) + data.draw(st.binary(max_size=60)))


def test_every_prefix_and_every_extension_of_real_messages_is_refused(world: Listener) -> None:
    kinds = set()
    for (source, to, _), message in world.heard:
        node = world.master if to == MASTER else world.hosts[to].node
        kinds.add(message[0])
        for cut in range(len(message)):
            if message[0] == 2 and cut == len(message):
                continue
            before = node.image()
            status, _, _ = node.step(kind=lib.DSM_EV_MESSAGE, host=source, data=message[:cut])
            assert status == lib.DSM_E_PEER, (message.hex(), cut)
            assert node.image() == before
        longer = message + b"\0"
        status, _, _ = node.step(kind=lib.DSM_EV_MESSAGE, host=source, data=longer)
        assert status == lib.DSM_E_PEER, longer.hex()
    assert len(kinds) >= 12


def test_flipped_bytes_of_real_messages(world: Listener) -> None:
    rng = random.Random(1)
    for (source, to, _), message in world.heard:
        node = world.master if to == MASTER else world.hosts[to].node
        for _ in range(20):
            bent = bytearray(message)
            bent[rng.randrange(len(bent))] ^= 1 << rng.randrange(8)
            say(node, source, bytes(bent))


def test_hosts_do_not_speak_for_the_master(world: Listener) -> None:
    node = world.hosts[0].node
    for kind in [k for k in MESSAGES if k >= 16]:
        before = node.image()
        status, _, _ = node.step(kind=lib.DSM_EV_MESSAGE, host=1, data=bytes([kind]) + bytes(20))
        assert status == lib.DSM_E_PEER
        assert node.image() == before
