"""The six ways of sharing pages: 64 pages, 10 intervals, each value that is read is checked."""

import sys

import team

PAGES, INTERVALS, WORDS = 64, 10, 1024


def first_touch(team) -> None:
    """Each host writes its part once."""
    team.pages[team.band(PAGES)] = team.p + 1
    team.barrier()


def read_shared(team) -> None:
    """All read all pages in every interval; nobody writes any more."""
    team.pages[team.band(PAGES)] = 7
    for _ in range(INTERVALS):
        team.barrier()
        assert (team.pages == 7).all()


def producer_consumer(team) -> None:
    """Host 0 writes all, the others read all."""
    for turn in range(1, INTERVALS + 1):
        if team.p == 0:
            team.pages[:] = turn
        team.barrier()
        assert (team.pages == turn).all()
        team.barrier()


def migratory(team) -> None:
    """Each in turn adds 1 to one word of every page, under a lock."""
    team.guards(team.locks[0], team.pages)
    team.barrier()  # or one would have had all its turns before another comes
    for _ in range(INTERVALS):
        with team.locks[0]:
            team.pages[:, 5] += 1
    team.barrier()
    if team.p == 0:
        assert (team.pages[:, 5] == INTERVALS * team.hosts).all()


def false_sharing(team) -> None:
    """Each host writes its part of every page."""
    for turn in range(1, INTERVALS + 1):
        team.pages[:, team.band(WORDS)] = turn * 16 + team.p
        team.barrier()
        for p in range(team.hosts):
            part = team.pages[:, p * WORDS // team.hosts]
            assert (part == turn * 16 + p).all()
        team.barrier()


def nothing(team) -> None:
    """What the start and the end of the processes alone cost."""


def private(team) -> None:
    """Each host writes its own part in every interval."""
    for turn in range(1, INTERVALS + 1):
        team.pages[team.band(PAGES)] = turn
        team.barrier()
    assert (team.pages[team.band(PAGES)] == INTERVALS).all()


PATTERNS = {
    function.__name__: function
    for function in (
        first_touch,
        read_shared,
        producer_consumer,
        migratory,
        false_sharing,
        private,
        nothing,
    )
}


def work(team, name) -> None:
    team.begin(together=False)  # the ancestors counted these without other barriers
    PATTERNS[name](team)
    team.end(together=False)


def run(hosts=4, name="private") -> float:
    return team.run(work, hosts, {"pages": ((PAGES, WORDS), "u4")}, name, locks=1)


if __name__ == "__main__":
    hosts = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    for name in sys.argv[2:] or PATTERNS:
        print(f"{name} on {hosts} hosts: right, {run(hosts, name):.2f} s")
