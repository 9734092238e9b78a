"""Where a case runs: on how many hosts, by which rules, as whom, and beside what."""

from __future__ import annotations

import dataclasses
import random

HOSTS = (2, 3, 3, 4, 5, 8)
# What is so by default comes more often.
MODELS = ("lrc", "lrc", "lrc", "lrc", "erc", "scc", "ec", "sc")
HOMES = ("adaptive",) * 6 + ("first", "fixed", "barrier", "migrating", "blocks", "homeless")
HOMELESS_MODELS = ("lrc", "erc")
FAULTS = {"self": ("uffd", "uffd-user", "segv"), "other": ("uffd-user", "segv")}
USERS = ("self", "self", "self", "other")
PLACES = ("spread", "spread", "remote", "load")
TICKS = ("", "", "", "0", "10")
HOGS = (0, 1, 1, 2)
JITTER = (True, True, False)


@dataclasses.dataclass
class Configuration:
    hosts: int = 3
    model: str = "lrc"
    home: str = "adaptive"
    faults: str = "uffd"
    user: str = "self"  # other: uid 65534
    place: str = "spread"
    tick: str = ""
    hogs: int = 0
    jitter: bool = False

    def environment(self) -> dict[str, str]:
        return {
            "DSMPROC_CONSISTENCY": self.model,
            "DSMPROC_HOME": self.home,
            "DSMPROC_FAULTS": self.faults,
            "DSMPROC_PLACE": self.place,
            "DSMPROC_TICK": self.tick,
        }

    def __str__(self) -> str:
        words = [f"{self.hosts} hosts", self.model, self.home, self.faults, self.place]
        words += [f"tick {self.tick}"] if self.tick else []
        words += ["uid 65534"] if self.user == "other" else []
        words += [f"{self.hogs} hogs"] if self.hogs else []
        words += ["jitter"] if self.jitter else []
        return ", ".join(words)


def draw(case: str) -> Configuration:
    dice = random.Random(f"{case}/configuration")
    model, user = dice.choice(MODELS), dice.choice(USERS)
    homes = [home for home in HOMES if home != "homeless" or model in HOMELESS_MODELS]
    return Configuration(
        hosts=dice.choice(HOSTS),
        model=model,
        home=dice.choice(homes),
        faults=dice.choice(FAULTS[user]),
        user=user,
        place=dice.choice(PLACES),
        tick=dice.choice(TICKS),
        hogs=dice.choice(HOGS),
        jitter=dice.choice(JITTER),
    )
