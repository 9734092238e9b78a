"""merge: sorted runs are merged two by two; half of the hosts rest after each stage.

Half of what a merging host reads was written by its partner; then it writes all that it has read.
"""

import numpy as np
import team

KEYS = 2_097_152


def work(team, keys) -> None:
    run = keys // team.hosts
    start = team.p * run
    team.barrier()
    private = np.random.default_rng(team.p + 1).integers(0, 128, run, "u4").cumsum(dtype="u4")
    team.a[start : start + run] = private
    team.begin()
    stage = 2
    while stage <= team.hosts:
        if team.p % stage == 0:
            half = stage // 2 * run
            both = (team.a[start : start + half], team.a[start + half : start + 2 * half])
            merged = np.concatenate(both)
            merged.sort(kind="stable")  # finds the two runs and merges them
            team.a[start : start + 2 * half] = merged
        team.barrier()
        stage *= 2
    team.end()
    if team.p == 0:
        assert (team.a[:-1] <= team.a[1:]).all()
        every = np.concatenate(
            [
                np.random.default_rng(p + 1).integers(0, 128, run, "u4").cumsum(dtype="u4")
                for p in range(team.hosts)
            ]
        )
        every.sort()
        assert (team.a == every).all()


def run(hosts=4, keys=KEYS) -> float:
    """`hosts` is a power of two."""
    return team.run(work, hosts, {"a": (keys, "u4")}, keys)


if __name__ == "__main__":
    team.main("merge", run)
