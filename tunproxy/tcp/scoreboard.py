"""What of our data has arrived out of order, as the peer's SACK blocks tell (RFC 2018, RFC 6675)."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.tcp.seq import seq_le, seq_lt, seq_max, seq_sub

DUP_THRESH: Final[i64] = 3  # RFC 6675 §2

# our choice: bounds what a hostile peer makes us keep
MAX_RANGES: Final = 256


@final
@mypyc_attr(native_class=True, acyclic=True)
class Scoreboard:
    """Ranges [left, right) above snd_una that the peer holds, sorted, without overlap or touch."""

    def __init__(self) -> None:
        self.sacked: i64 = 0  # octets in all ranges
        self._ranges: list[tuple[i64, i64]] = []

    @property
    def is_empty(self) -> bool:
        """True when the peer holds nothing out of order."""
        return len(self._ranges) == 0

    @property
    def highest(self) -> i64:
        """The end of the last range; there must be one."""
        return self._ranges[-1][1]

    def add(self, left: i64, right: i64) -> bool:
        """Merge one block; return whether it told anything new. left must come before right."""
        ranges = self._ranges
        first = 0
        while first < len(ranges) and seq_lt(ranges[first][1], left):
            first += 1
        last = first
        new_left, new_right = left, right
        covered: i64 = 0
        while last < len(ranges) and seq_le(ranges[last][0], right):
            covered += seq_sub(ranges[last][1], ranges[last][0])
            if seq_lt(ranges[last][0], new_left):
                new_left = ranges[last][0]
            new_right = seq_max(new_right, ranges[last][1])
            last += 1
        added = seq_sub(new_right, new_left) - covered
        if added == 0 or (last == first and len(ranges) >= MAX_RANGES):
            return False
        ranges[first:last] = [(new_left, new_right)]
        self.sacked += added
        return True

    def advance(self, snd_una: i64) -> None:
        """Forget everything below snd_una."""
        while len(self._ranges) > 0 and seq_lt(self._ranges[0][0], snd_una):
            left, right = self._ranges[0]
            if seq_le(right, snd_una):
                self.sacked -= seq_sub(right, left)
                self._ranges.pop(0)
            else:
                self.sacked -= seq_sub(snd_una, left)
                self._ranges[0] = (snd_una, right)

    def clear(self) -> None:
        """Forget everything (the peer may renege: RFC 2018 §8)."""
        self._ranges = []
        self.sacked = 0

    def lost_until(self, snd_una: i64, mss: i64) -> i64:
        """Return the end of what IsLost holds true for (RFC 6675 §4); snd_una when nothing is lost.

        An octet is lost when DUP_THRESH ranges or more than (DUP_THRESH - 1) * mss octets above it arrived.
        """
        ranges = self._ranges
        above: i64 = 0
        at = len(ranges) - 1
        while at >= 0:
            left, right = ranges[at]
            above += seq_sub(right, left)
            if above > (DUP_THRESH - 1) * mss or len(ranges) - at >= DUP_THRESH:
                return left
            at -= 1
        return snd_una

    def next_hole(self, seq: i64, until: i64) -> tuple[i64, i64]:
        """Return the first run [left, right) at or behind seq, before until, that has not arrived.

        left == right == until when there is none.
        """
        if seq_le(until, seq):
            return until, until
        for left, right in self._ranges:
            if seq_lt(seq, left):
                return seq, (left if seq_lt(left, until) else until)
            if seq_lt(seq, right):
                seq = right
            if seq_le(until, seq):
                return until, until
        return seq, until
