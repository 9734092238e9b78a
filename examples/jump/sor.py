"""sor: red-black over-relaxation in bands of rows; a barrier after each colour.

Red and black elements have an array each, in which a row is a page. Hosts read the rows next to
their bands; all other pages are written again and again by one host, and by nobody else read.
"""

import numpy as np
import team

ROWS, COLUMNS, ITERATIONS = 2046, 1023, 100


def first_values(rows, columns):
    """Both colours, with the edge."""
    random = np.random.default_rng(1)
    return random.random((2, rows + 2, columns + 1), "f4")


def relax(new, old, first, end, colour) -> None:
    """Rows first..end-1 of one colour from the other; which neighbours depends on the row."""
    columns = new.shape[1] - 1
    for parity in (0, 1):
        row = first + (first + parity) % 2
        if row >= end:
            continue
        beside = 1 if parity == colour else 0
        left = old[row:end:2, beside : columns - 1 + beside]
        right = old[row:end:2, 1 + beside : columns + beside]
        up, down = old[row - 1 : end - 1 : 2, 1:columns], old[row + 1 : end + 1 : 2, 1:columns]
        new[row:end:2, 1:columns] = (up + down + left + right) * np.float32(0.25)


def alone(values, first, end, iterations):
    """The band as one process computes it, from so many more rows that its edge does not matter."""
    low = max(0, first - 2 * iterations - 1)
    high = min(values.shape[1], end + 2 * iterations + 1)
    low -= low % 2  # or the parity of the rows would change
    part = values[:, low:high].copy()
    for _ in range(iterations):
        for colour in (0, 1):
            relax(part[colour], part[1 - colour], 1, high - low - 1, colour)
    return part[:, first - low : end - low]


def work(team, rows, columns, iterations) -> None:
    colours = (team.red, team.black)
    values = first_values(rows, columns)
    band = team.band(rows)
    first, end = band.start + 1, band.stop + 1  # without the edge
    low, high = first - (team.p == 0), end + (team.p == team.hosts - 1)
    for colour in (0, 1):
        colours[colour][low:high] = values[colour, low:high]
    team.begin()
    for _ in range(iterations):
        for colour in (0, 1):
            relax(colours[colour], colours[1 - colour], first, end, colour)
            team.barrier()
    team.end()
    right = alone(values, first, end, iterations)
    for colour in (0, 1):
        assert np.array_equal(colours[colour][first:end], right[colour])


def run(hosts=4, rows=ROWS, columns=COLUMNS, iterations=ITERATIONS) -> float:
    shapes = {name: ((rows + 2, columns + 1), "f4") for name in ("red", "black")}
    return team.run(work, hosts, shapes, rows, columns, iterations)


if __name__ == "__main__":
    team.main("sor", run)
