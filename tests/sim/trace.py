"""What happened in a world, readable: kept only when a failed seed is run again."""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from dsmproc._native._core import ffi
from dsmproc._native._core import lib as C

if TYPE_CHECKING:
    from .host import SimHost
    from .thread import Thread


def names(prefix: str) -> dict[int, str]:
    return {getattr(C, n): n[len(prefix) :] for n in dir(C) if n.startswith(prefix)}


EVENTS, ACTIONS, STATUS = names("DSM_EV_"), names("DSM_ACT_"), names("DSM_ST_")
WORDS = names("DSM_WORD_")
# As wire.h says: name, fixed fields, and the fields of a repeated part (counted by the last fixed).
MESSAGES: dict[int, tuple[str, str, str]] = {
    1: ("GET", "IQH", ""),
    2: ("PAGE", "IQH", ""),
    3: ("DIFF", "H", "QII"),
    4: ("DACK", "H", "QIII"),
    5: ("MOVED", "IQHI", ""),
    8: ("TAKE", "H", "QI"),
    9: ("TAKEN", "H", "QI"),
    10: ("HAND", "H", "QII"),
    11: ("HANDED", "H", "QIB"),
    12: ("ELSEWHERE", "H", "QIHI"),
    13: ("BYE", "B", ""),
    49: ("WANT", "QII", ""),
    50: ("DIFFS", "QIIBH", "IQI"),
    51: ("WANT_BASE", "Q", ""),
    52: ("BASE", "QBHIH", "HI"),
    53: ("COLLECT", "QQIB", ""),
    54: ("COLLECTED", "QIHI", ""),
    14: ("COPY", "QB", ""),
    16: ("CLAIM", "H", "Q"),
    17: ("NOTICE", "BH", "QHHI"),
    18: ("OBSERVE", "", ""),
    27: ("CHANGES", "BH", "QHIHH"),
    30: ("BIND", "QQH", ""),
    19: ("ATTACH", "I", ""),
    20: ("DETACH", "I", ""),
    21: ("LOCK_ASK", "QB", ""),
    22: ("RETURN", "QB", ""),
    23: ("TRY_HELD", "QH", ""),
    24: ("CALL", "QBQQQQ", ""),
    25: ("CANCEL", "Q", ""),
    26: ("UNLOCKED", "HQB", ""),
    28: ("WHERE", "H", "QHI"),
    29: ("SAY", "IH", "QBHI"),
    32: ("NOTICES", "QH", "QHHI"),
    33: ("CLAIMED", "H", "QHI"),
    34: ("PUBLISHED", "Q", ""),
    35: ("OBSERVED", "", ""),
    36: ("REGION", "IBIBHBH", "QHHI"),
    37: ("DROP", "I", ""),
    38: ("GRANT", "QQ", ""),
    39: ("RECALL", "QBH", ""),
    40: ("TRY_FAILED", "Q", ""),
    41: ("RET", "QBQ", ""),
    42: ("UNLOCK", "QHQ", ""),
    43: ("UPDATES", "H", "QHIH*"),
    44: ("ASK", "QQQQIH", "Q"),
    45: ("FOUND", "H", "QBHI"),
    46: ("SCOPE", "QB", ""),
    47: ("TOLD", "Q", ""),
    48: ("KNOWN", "Q", ""),
    55: ("WRITERS", "QH", "QHIH"),
    60: ("NEED", "QBI", ""),
    61: ("DONE", "QI", ""),
    62: ("GONE", "QI", ""),
    63: ("STILL", "QI", ""),
    64: ("INV", "QI", ""),
    65: ("GIVE", "QIHB", ""),
    66: ("OWN", "QB", ""),
    67: ("NONE", "QH", ""),
    68: ("STRANDED", "QIH", ""),
    69: ("CUT", "H", ""),
    70: ("IS_CUT", "H", ""),
    71: ("OWNER_DIED", "QB", ""),
}


def page_name(page: int) -> str:
    return f"{page >> 32}:{page & 0xFFFFFFFF}"


def number(code: str, value: int) -> str:
    """Ids with a region in them are written region:page."""
    return page_name(value) if code == "Q" and 32 <= value.bit_length() < 40 else f"{value:x}"


def decode(data: bytes) -> tuple[str, set[int]]:
    """The message as text, and the pages it names."""
    if not data or data[0] not in MESSAGES:
        return f"? {data.hex()}", set()
    name, fixed, repeated = MESSAGES[data[0]]
    inline, repeated = repeated.endswith("*"), repeated.rstrip("*")
    head = struct.Struct("<" + fixed)
    values = head.unpack_from(data, 1)
    words = [number(c, v) for c, v in zip(fixed, values, strict=True)]
    pages: set[int] = set()
    if name in ("GET", "PAGE"):
        pages = set(range(values[1], values[1] + values[2]))
    if name == "MOVED":
        pages = {values[1]}
    if name in ("WANT", "DIFFS", "WANT_BASE", "BASE", "COLLECT", "COLLECTED"):
        pages = {values[0]}
    at, part = 1 + head.size, struct.Struct("<" + repeated)
    for _ in range(values[-1] if repeated else 0):
        row = part.unpack_from(data, at)
        at += part.size
        if name == "WRITERS":  # what follows are hosts and their intervals
            more = struct.unpack_from("<" + "HI" * row[-1], data, at)
            at += 6 * row[-1]
            row = (*row[:-1], *more)
            repeated = "QHI" + "HI" * (len(more) // 2)
        if name not in ("DIFFS", "BASE"):
            pages |= set(range(row[0], row[0] + (row[1] & 0x7FFF if repeated == "QHHI" else 1)))
        text = " ".join(map(number, repeated, row))
        if inline:  # a diff of so many bytes follows
            text += f" {data[at : at + row[-1]].hex()}"
            at += row[-1]
        words.append(f"({text})")
    rest = data[at:]
    return " ".join([name, *words]) + (f" | {rest.hex()}" if rest else ""), pages


class Trace:
    def __init__(self, most: int = 100_000) -> None:
        self.lines: deque[tuple[str, set[int]]] = deque(maxlen=most)

    def line(self, text: str, pages: set[int] | None = None) -> None:
        self.lines.append((text, pages or set()))

    def event(self, host: SimHost | None, kind: int, event: dict[str, Any]) -> None:
        who = "master" if host is None else f"host {host.number}"
        if kind == C.DSM_EV_MESSAGE:
            text, pages = decode(event["data"])
            source = "master" if event["host"] == C.DSM_MASTER else event["host"]
            self.line(f"{who} <- {source}: {text}", pages)
            return
        id = event.get("id", 0)
        is_page = EVENTS[kind] in ("READ_FAULT", "WRITE_FAULT", "DIFFED", "HAND", "BIND")
        words = [
            f"{k}={v}" if k == "req" else f"{k}={v:x}"
            for k, v in event.items()
            if k not in ("id", "data")
        ]
        if id:
            words.insert(0, page_name(id) if is_page else f"{id:x}")
        self.line(f"{who} event {EVENTS[kind]} {' '.join(words)}", {id} if is_page else None)

    def action(self, host: SimHost | None, a: tuple[int, ...]) -> None:
        name = ACTIONS[a[0]]
        if host is None or name in ("SEND", "COUNT"):
            return
        if name == "REPLY":
            self.line(f"    REPLY {a[9]} {STATUS.get(a[5])} {a[10]:x}")
        elif name == "WORD":
            self.line(f"    WORD {a[8]:x} {WORDS.get(a[5])} client {a[2]}")
        elif name in ("MORE", "REGION", "REGION_END"):
            self.line(f"    {name} {a[8]:x}")
        else:
            count = max(1, a[4])
            text = f"    {name} {page_name(a[8])}" + (f" x{count}" if count > 1 else "")
            if name == "MAP":
                text += f" client {a[2]} {'RW' if a[5] else 'RO'}"
            elif a[5]:
                text += f" flag {a[5]}"
            state = host.lib.dsm_host_page(host.node.state, a[8])
            text += f"   [now {ffi.string(C.dsm_page_state_name(state & 0xFF)).decode()}]"
            self.line(text, set(range(a[8], a[8] + count)))

    def note(self, thread: Thread, words: tuple[Any, ...], page: int | None) -> None:
        where = "" if page is None else f" of {page_name(page)}"
        text = f"  {thread.name} {' '.join(map(str, words))}{where}"
        self.line(text, set() if page is None else {page})

    def story(self, page: int | None, most: int) -> str:
        """The last lines, of one page only if the failure is about one."""
        lines = [
            f"{n:6} {text}"
            for n, (text, pages) in enumerate(self.lines)
            if page is None or page in pages or "event WORD" in text or "killed" in text
        ]
        return "\n".join(lines[-most:])
