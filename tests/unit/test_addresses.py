"""Which addresses are of one host only, and who is told where (dsmproc/_channels/addresses.py)."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dsmproc._channels.addresses import Addresses, on_one_host


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (("localhost", 5), ("127.0.0.1", 5)),
        (("", 5), ("127.0.0.1", 5)),
        (("0.0.0.0", 5), ("127.0.0.1", 5)),
        (("127.0.0.2", 5), ("127.0.0.2", 5)),
        (("192.0.2.1", 5), None),
        (("127.0.0.1", "5"), None),
        (("127.0.0.1", 1 << 16), None),
        (("elsewhere.example", 5), None),
        (("::1", 5, 0, 0), None),
        ("/run/a", "/run/a"),
        (b"/run/a", "/run/a"),
        ("a", os.path.abspath("a")),
        ("\0a", "\0a"),
        ("", None),
        (7, None),
    ],
)
def test_places(address: Any, place: Any) -> None:
    assert on_one_host(address) == place
    assert place is None or on_one_host(place) == place


def test_each_program_finds_its_own_listeners_and_the_newest() -> None:
    addresses = Addresses(lambda host: None if host == 9 else {"id": host})
    place = ("127.0.0.1", 5)

    def find(session: str) -> Any:
        return addresses.call(0, "find", session, place)

    addresses.call(1, "announce", "a", place)
    addresses.call(2, "announce", "b", place)
    assert find("a") == {"id": 1} and find("b") == {"id": 2} and find("c") is None
    addresses.call(3, "announce", "a", place)
    addresses.call(1, "withdraw", "a", place)  # that of host 3 is another one
    assert find("a") == {"id": 3}
    addresses.call(3, "withdraw", "a", place)
    addresses.call(3, "withdraw", "a", place)
    assert find("a") is None
    addresses.call(9, "announce", "a", place)  # a host that is lost
    assert find("a") is None
    addresses.session_ended("b")
    assert find("b") is None
