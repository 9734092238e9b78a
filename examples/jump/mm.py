"""mm: the product of two matrices, summed up band by band under a lock for each band.

Every page of c is written by all hosts one after another (migratory data); a and b are read by one
host each.
"""

import team

SIZE = 512


def work(team, n) -> None:
    if team.p == 0:
        for i in range(n):
            team.a[i] = 1
            team.b[i] = 1
        for q in range(team.hosts):
            team.guards(team.locks[q], team.c[q * n // team.hosts : (q + 1) * n // team.hosts])
    team.begin()
    mine = team.band(n)
    local = team.a[mine].T @ team.b[mine]  # this host's share of every element of the product
    team.barrier()
    for k in range(team.hosts):
        q = (team.p + k) % team.hosts
        with team.locks[q]:
            for row in range(q * n // team.hosts, (q + 1) * n // team.hosts):
                if k == 0:
                    team.c[row] = local[row]
                else:
                    team.c[row] += local[row]
        if k == 0:
            team.barrier()
    team.end()
    if team.p == 0:
        for q in range(team.hosts):
            with team.locks[q]:
                band = team.c[q * n // team.hosts : (q + 1) * n // team.hosts]
                assert (band == n).all(), f"band {q}"


def run(hosts=4, n=SIZE) -> float:
    shapes = {name: ((n, n), "i4") for name in "abc"}
    return team.run(work, hosts, shapes, n, locks=hosts)


if __name__ == "__main__":
    team.main("mm", run)
