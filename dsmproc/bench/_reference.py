"""What the ancestors sent on the same programs with four hosts, and the least that must move.

JUMP 1.0 (2001) and JIAJIA 2.1 (1999; with fixed homes and with home migration at barriers), run on
network-namespace hosts. Messages and MB are their own counters of the whole program, with headers
of 32 bytes; MB of sor and of the patterns are what their hosts' network devices sent. A UDP message
carries what is for one host at one moment, up to 40 KB.
"""

from __future__ import annotations

SYSTEMS = ("JUMP 1.0", "JIAJIA fixed", "JIAJIA barrier")
# program: (messages, MB) of each system, least MB
FIGURES: dict[str, tuple[tuple[tuple[int, float], ...], float]] = {
    "mm": (((4060, 8.1), (3633, 11.6), (3937, 12.9)), 5.5),
    "merge": (((7240, 15.1), (11800, 39.6), (7502, 28.7)), 8.4),
    "rx": (((28684, 59.3), (24854, 96.7), (10864, 67.5)), 50.0),
    "buck": (((8207, 16.8), (7823, 27.4), (8420, 25.0)), 7.0),
    "lu": (((14130, 12.1), (24346, 281.5), (7690, 12.5)), 9.4),
    "sor": (((23086, 38.7), (14090, 32.6), (14322, 36.9)), 4.9),
    "first_touch": (((126, 0.22), (126, 0.42), (126, 0.42)), 0.0),
    "read_shared": (((4118, 8.56), (348, 0.64), (348, 0.64)), 0.6),
    "producer_consumer": (((5372, 11.33), (3216, 8.63), (3972, 8.70)), 7.9),
    "migratory": (((5432, 11.34), (4176, 8.56), (4176, 8.56)), 0.0),
    "false_sharing": (((4708, 11.61), (4140, 10.56), (4140, 10.56)), 7.9),
    "private": (((180, 0.22), (396, 2.28), (334, 0.43)), 0.0),
}


def best(program: str) -> tuple[int, float]:
    """The fewest messages and the fewest MB of any of them."""
    systems = FIGURES[program][0]
    return min(messages for messages, _ in systems), min(size for _, size in systems)


def least(program: str) -> float:
    return FIGURES[program][1]
