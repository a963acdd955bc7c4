"""Virtual time, what is due when, and what hosts sent: what every run of the simulator stands on."""

import heapq
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.sim.oracle import examine
from tunproxy import version
from tunproxy.wire.vnet import VNET_LEN

ROOT = Path(__file__).resolve().parents[2]
START = 1_000_000
CLIENT, SERVER = 0, 1
LETTERS = "FSRP.UEW"


class Broken(AssertionError):
    """Something that must always hold did not."""


@dataclass
class Outcome:
    """How a run ended; elapsed is when the last octet was delivered, in microseconds."""

    trace: int = 0
    frames: int = 0
    elapsed: int = 0
    retransmits: list[int] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    moves: set[tuple[int, int]] = field(default_factory=set)
    lost: int = 0
    corrupted: int = 0
    marked: int = 0
    echoed: int = 0  # frames with ECE
    reductions: int = 0  # of windows, for an echo


class Timeline:
    """The clock, the queue of events, and a trace of the frames; it jumps from event to event."""

    def __init__(self, log: list[str] | None = None) -> None:
        self.now = START
        self.is_attacked = False
        self.outcome = Outcome()
        self.events: list[tuple[int, int, Callable[[int], None]]] = []
        self._log = log
        self._recent: list[tuple[int, int, bytes]] = []
        self._order = 0

    def at(self, when: int, call: Callable[[int], None]) -> None:
        """Have call(now) made at that time, after what was asked for earlier for the same time."""
        self._order += 1
        heapq.heappush(self.events, (when, self._order, call))

    def step(self, limit: int) -> None:
        """Jump to the next event, which must not lie behind limit, and let it happen."""
        self.now, _, call = heapq.heappop(self.events)
        self.check(self.now <= limit, "it takes too long")
        try:
            call(self.now)
        except Broken:
            raise
        except Exception as error:
            raise self.broken(f"{type(error).__name__}: {error}") from error

    def note(self, side: int, frame: bytes) -> None:
        """Put a frame that a host sent into the trace, and have it examined."""
        outcome = self.outcome
        outcome.trace = zlib.crc32(frame, zlib.crc32(struct.pack("!QB", self.now, side), outcome.trace))
        outcome.frames += 1
        self.remember(side, frame)
        wrong = examine(frame)
        self.check(not wrong, f"a frame is wrong: {wrong}")

    def remember(self, side: int, frame: bytes) -> None:
        """Keep a frame for the report of a failure, and log it."""
        self._recent.append((self.now, side, frame))
        if self._log is not None:
            self._log.append(describe(*self._recent[-1]))
        if len(self._recent) > 60:
            del self._recent[:30]

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            raise self.broken(what)

    def on_refused(self, frame: bytes, reason: int) -> None:
        """Take notice of a frame that a host could not read; here a link may have damaged it."""

    def title(self) -> list[str]:
        """Return which run this is, how to repeat it, and what there is to say of its hosts."""
        raise NotImplementedError

    def broken(self, what: str) -> Broken:
        first, *lines = self.title()
        lines.insert(0, f"{first} at {(self.now - START) / 1e6:.6f} s: {what}")
        lines += [describe(*packet) for packet in self._recent[-30:]]
        return Broken("\n".join(lines))


def replay_line(path: str, options: str) -> str:
    """Return the command that plays a run of the file at path again, on the same kind of tunproxy."""
    found = Path(version.__file__).parent
    mode = "compiled" if version.is_compiled() else "installed"
    if found == ROOT / "tunproxy":
        mode = "interpreted"
    return f"replay: pytest {path} --mode {mode} {options}"


def describe(now: int, side: int, frame: bytes) -> str:
    """Return one line about a frame, in the manner of tcpdump."""
    packet = frame[VNET_LEN:]
    start = 40 if packet[0] >> 4 == 6 else 20
    seq, ack, off, flags, wnd = struct.unpack_from("!IIBBH", packet, start + 4)
    data_off = start + (off >> 4) * 4
    letters = "".join(letter for bit, letter in enumerate(LETTERS) if flags >> bit & 1)
    size = len(packet) - data_off
    (gso_size,) = struct.unpack_from("<H", frame, 4)
    arrow = ">" if side == CLIENT else "<"
    whole = f" gso {gso_size}" if gso_size else ""
    options = packet[start + 20 : data_off].hex()
    return (
        f"{(now - 1_000_000) / 1e6:12.6f} {arrow} [{letters}] seq {seq}:{(seq + size) & 0xFFFF_FFFF} "
        f"ack {ack} win {wnd} len {size}{whole} opts {options}"
    )
