"""Read binary data from front to back; whatever is missing is an error, never an index out of range."""

import sys
from array import array
from typing import Final

from tunproxy.rules.model import RuleError
from tunproxy.rulesets.notes import broken

_MAX_UVARINT_LEN: Final = 10  # octets that 64 bits need, 7 in each


class Octets:
    """A place in data. Every method reads what it names from there and moves on, or raises RuleError."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name
        self.at = 0

    def left(self) -> int:
        """Return the number of octets that were not read yet."""
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        """Return the next count octets."""
        if count < 0 or count > self.left():
            raise self.error(f"{count} octets expected, {self.left()} left")
        start = self.at
        self.at += count
        return self.data[start : self.at]

    def u8(self) -> int:
        if self.at >= len(self.data):
            raise self.error("the data ends too early")
        self.at += 1
        return self.data[self.at - 1]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def i64(self) -> int:
        return int.from_bytes(self.take(8), "big", signed=True)

    def uvarint(self) -> int:
        """Return a number of 64 bits in groups of seven, the lowest first (protobuf, Go's binary.Uvarint)."""
        data, at = self.data, self.at
        value = 0
        for shift in range(0, 7 * _MAX_UVARINT_LEN, 7):
            if at >= len(data):
                raise self.error("the data ends within a number")
            octet = data[at]
            at += 1
            value |= (octet & 0x7F) << shift
            if octet < 0x80:
                self.at = at
                return value & 0xFFFF_FFFF_FFFF_FFFF
        raise self.error("a number has more than 64 bits")

    def count(self, value: int, size: int) -> int:
        """Return value, how many things of at least size octets follow, if there is room for them."""
        if value < 0 or value * size > self.left():
            raise self.error(f"{value} entries announced, but only {self.left()} octets left")
        return value

    def words(self, count: int) -> "array[int]":
        """Return count numbers of 64 bits, high octet first."""
        words = array("Q", self.take(8 * self.count(count, 8)))
        if sys.byteorder == "little":
            words.byteswap()
        return words

    def error(self, message: str) -> RuleError:
        return broken(self.name, f"{message} (octet {self.at})")
