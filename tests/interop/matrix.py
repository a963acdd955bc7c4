"""The cells of the kernel matrix: in which ways two kernels and a link can differ from the usual.

A cell is one line of text, which is its name, and which builds it again::

    ipv4 mtu=1500 loss=0 reorder=0 flows=1 cc=cubic order=both tcp_sack=0

``loss`` and ``reorder`` are per cent of the packets between client and tunproxy, and so is ``mark``, where
a router marks instead of dropping; the name leaves it out where none does. ``order`` says who sends first.
What follows are settings of the client's kernel.
"""

import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.interop.exchange import ECN, ORDERS, SACK, TIMESTAMPS, WINDOW_SCALING
from tests.system.lab import IPV4, IPV6, Family
from tests.system.peers import MEGABYTE

SYSCTL = Path("/proc/sys/net/ipv4")
FAMILIES = {family.name: family for family in (IPV4, IPV6)}
NUMBERS, WORDS = ("mtu", "loss", "reorder", "mark", "flows"), ("cc", "order")
IPV6_MTU = 1280  # RFC 8200 §5
MTUS = (576, 1280, 1500, 9000, 65535)
LOSSES = (0, 1, 5)
REORDERS = (0, 3, 20)
MARKS = (0, 3, 30, 100)
FLOWS = (1, 8, 50, 500)
SHARES = (5, 4, 2, 1)  # of each of these in a sample: many flows take long where SYNs are lost
OFFERS_ECN = ("tcp_ecn", "1")
# One setting each, the usual left out; a kernel that lacks one has fewer cells.
SETTINGS = (
    ("tcp_sack", "0"),
    ("tcp_dsack", "0"),
    ("tcp_timestamps", "0"),
    ("tcp_timestamps", "2"),  # without an offset of its own per connection
    ("tcp_window_scaling", "0"),
    ("tcp_ecn", "0"),
    OFFERS_ECN,
    ("tcp_early_retrans", "0"),  # no TLP
    ("tcp_recovery", "0"),  # no RACK
    ("tcp_recovery", "2"),  # RACK without a reordering window that adapts
    ("tcp_frto", "0"),
    ("tcp_rmem", "4096 8192 16384"),
    ("tcp_wmem", "4096 8192 16384"),
    ("tcp_shrink_window", "1"),
    ("tcp_mtu_probing", "2"),
    ("tcp_autocorking", "0"),
    ("tcp_comp_sack_nr", "0"),  # an acknowledgment for each segment out of order
    ("tcp_slow_start_after_idle", "0"),
)
# What one direction carries in all: octets where nothing is lost, and at most so many packets elsewhere.
TOTAL = 4 * MEGABYTE
PACKETS = {0: 2000, 1: 700, 5: 200}  # by loss
# By mark: enough that new data follows the first burst, which nothing throttles; but where each packet is
# marked, the clock sends one each 200 ms in the end.
PACKETS_MARKED = {0: 2000, 3: 2000, 30: 300, 100: 160}
PATIENCE = 40  # seconds for a cell without loss; SYNs that are lost three times take seven alone
PATIENCE_WITH_LOSS = 60


@dataclass(frozen=True)
class Cell:
    """One combination; the defaults are what everybody has."""

    family: str = "ipv4"
    mtu: int = 1500
    cc: str = "cubic"
    loss: int = 0
    reorder: int = 0
    mark: int = 0
    flows: int = 1
    order: str = "both"
    settings: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        words = [self.family]
        names = ["mtu", "cc", "loss", "reorder", *(["mark"] if self.mark else []), "flows", "order"]
        words += [f"{name}={getattr(self, name)}" for name in names]
        return " ".join([*words, *(f"{key}={value.replace(' ', ',')}" for key, value in self.settings)])

    @property
    def lab_family(self) -> Family:
        return FAMILIES[self.family]

    @property
    def is_faulty(self) -> bool:
        """Whether it needs the link that loses, reorders and marks."""
        return bool(self.loss or self.reorder or self.mark)

    @property
    def size(self) -> int:
        """Return the length of each stream, odd where it is more than one octet for each flow."""
        total = TOTAL
        if self.is_faulty:
            total = min(total, min(PACKETS[self.loss], PACKETS_MARKED[self.mark]) * self.mtu)
        return total // self.flows | 1

    @property
    def offered(self) -> int:
        """Return the options that the client offers, as TCP_INFO has them.

        A kernel offers ECN only where it is told to; else it just accepts it.
        """
        options = {"tcp_timestamps": TIMESTAMPS, "tcp_sack": SACK, "tcp_window_scaling": WINDOW_SCALING}
        off = {key for key, value in self.settings if value == "0"}
        found = sum(option for key, option in options.items() if key not in off)
        return found | ECN if OFFERS_ECN in self.settings else found

    @property
    def patience(self) -> float:
        return PATIENCE_WITH_LOSS if self.loss or self.mark else PATIENCE

    @property
    def seed(self) -> int:
        return zlib.crc32(str(self).encode())


def parse_cell(text: str) -> Cell:
    """Return the cell that ``str`` wrote; ValueError where it is none."""
    family, *words = text.split()
    known: dict[str, Any] = {}  # Any: as the field has it
    settings = []
    for word in words:
        key, found, value = word.partition("=")
        if not found:
            raise ValueError(f"{word!r} is not NAME=VALUE")
        if key.startswith("tcp_"):
            settings.append((key, value.replace(",", " ")))
        elif key in NUMBERS or key in WORDS:
            known[key] = int(value) if key in NUMBERS else value
        else:
            raise ValueError(f"a cell has no {key!r}")
    cell = Cell(family, settings=tuple(settings), **known)
    is_known = family in FAMILIES and cell.order in ORDERS
    is_known = is_known and cell.loss in PACKETS and cell.mark in PACKETS_MARKED
    if not is_known or cell.flows < 1 or not 0 <= cell.reorder <= 100:
        raise ValueError(f"no such cell: {text!r}")
    return cell


def congestion_controls() -> tuple[str, ...]:
    """Return what this kernel can do, in alphabetical order."""
    return tuple(sorted((SYSCTL / "tcp_available_congestion_control").read_text().split()))


def settings() -> list[tuple[str, str]]:
    """Return the settings that this kernel has."""
    return [(key, value) for key, value in SETTINGS if (SYSCTL / key).exists()]


def in_turn() -> Iterator[Cell]:
    """Yield each value of each dimension, all others as usual; who sends first takes turns."""
    order = _rotation(ORDERS)
    for family in ("ipv4", "ipv6"):
        usual = Cell(family)
        for mtu in MTUS:
            if mtu >= IPV6_MTU or family == "ipv4":
                for first in ORDERS:
                    yield replace(usual, mtu=mtu, order=first)
                yield replace(usual, mtu=mtu, loss=1, order=next(order))
        for loss in LOSSES:
            for reorder in REORDERS:
                if loss or reorder:
                    yield replace(usual, loss=loss, reorder=reorder, order=next(order))
        for flows in FLOWS[1:]:
            yield replace(usual, flows=flows, order="both")
            yield replace(usual, flows=flows, order=next(order))
        # A setting shows where something has to be repaired, and where nothing keeps it from its speed.
        for cc in congestion_controls():
            yield replace(usual, cc=cc, order=next(order))
            yield replace(usual, cc=cc, loss=1, reorder=3, order=next(order))
        for setting in settings():
            yield replace(usual, settings=(setting,), order=next(order))
            yield replace(usual, settings=(setting,), loss=1, reorder=3, order=next(order))


def marking() -> Iterator[Cell]:
    """Yield cells with a router that marks, alone and on a link that is bad as well."""
    order = _rotation(ORDERS)
    for family in FAMILIES:
        usual = Cell(family, settings=(OFFERS_ECN,))
        for mark in MARKS[1:]:
            yield replace(usual, mark=mark, order=next(order))
            yield replace(usual, mark=mark, loss=1, reorder=3, order=next(order))
        yield replace(usual, mark=3, flows=8)
        for cc in congestion_controls():
            yield replace(usual, mark=3, cc=cc)
    yield Cell(mtu=576, mark=3, settings=(OFFERS_ECN, ("tcp_sack", "0")))
    yield Cell(mtu=9000, mark=3, settings=(OFFERS_ECN,))
    yield Cell(mtu=65535, mark=30, settings=(OFFERS_ECN, ("tcp_timestamps", "0")))


def sample(count: int) -> Iterator[Cell]:
    """Yield count combinations; a longer sample begins with the shorter one."""
    draw, draw_mark = random.Random(9293), random.Random(3168)
    known = settings()
    for _ in range(count):
        mtu = draw.choice(MTUS)
        chosen = dict(draw.sample(known, draw.choice((0, 1, 2, 3))))  # of two values for one key, the last
        yield Cell(
            family=draw.choice(("ipv4", "ipv6")) if mtu >= IPV6_MTU else "ipv4",
            mtu=mtu,
            cc=draw.choice(congestion_controls()),
            loss=draw.choice(LOSSES),
            reorder=draw.choice(REORDERS),
            mark=draw_mark.choice(MARKS) if chosen.get(OFFERS_ECN[0]) == OFFERS_ECN[1] else 0,
            flows=draw.choices(FLOWS, SHARES)[0],
            order=draw.choice(ORDERS),
            settings=tuple(chosen.items()),
        )


def cells(samples: int) -> list[Cell]:
    """Return all cells in turn and so many combinations, those of one lab beside each other."""
    return sorted(dict.fromkeys([*in_turn(), *marking(), *sample(samples)]), key=lambda cell: cell.mtu)


def _rotation(values: Sequence[str]) -> Iterator[str]:
    while True:
        yield from values
