"""lu: a matrix is factored in place, column by column; a column is a page.

Each page is written by one host only, but host 0 wrote all of them first. Each column is read by
all other hosts once it is done. A barrier a column.
"""

import numpy as np
import team

SIZE = 512


def work(team, n) -> None:
    a = team.a  # a[j] is column j
    saved = None
    if team.p == 0:
        saved = np.random.default_rng(1).random((n, n)) * 65536
        saved[np.diag_indices(n)] *= 10
        for i in range(n):
            a[:, i] = saved[:, i]  # row by row: all pages at once
    team.begin()
    for j in range(n):
        if j % team.hosts == team.p:
            a[j, j + 1 :] /= a[j, j]
        team.barrier()
        column = a[j, j + 1 :]
        for k in range(j + 1, n):
            if k % team.hosts == team.p:
                a[k, j + 1 :] -= column * a[k, j]
    team.end()
    if team.p == 0:
        done = a.T.copy()
        lower = np.tril(done, -1) + np.eye(n)
        assert np.allclose(lower @ np.triu(done), saved.T, rtol=1e-5)


def run(hosts=4, n=SIZE) -> float:
    return team.run(work, hosts, {"a": ((n, n), "f8")}, n, blocks=True)


if __name__ == "__main__":
    team.main("lu", run)
