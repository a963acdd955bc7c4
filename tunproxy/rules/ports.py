"""Numbers in rules: ports, DSCP, user ids, written `80/443/1000-2000`."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.rules.facts import INDETERMINATE, MATCHED, NEEDS_PROCESS, NOT_MATCHED, Facts, Matcher
from tunproxy.rules.ranges import RangeSet

# Which number.
TARGET_PORT: Final[i64] = 0
SOURCE_PORT: Final[i64] = 1
IN_PORT: Final[i64] = 2
DSCP: Final[i64] = 3
UID: Final[i64] = 4

HIGHEST: Final = {"DST-PORT": 65535, "SRC-PORT": 65535, "IN-PORT": 65535, "DSCP": 63, "UID": (1 << 32) - 1}


def parse_numbers(text: str) -> list[tuple[int, int]]:
    """Return the ranges that text names, both ends included; raises ValueError that says what is wrong."""
    ranges = []
    for part in text.split("/"):
        first, dash, last = part.strip().partition("-")
        low = number_of(first, part)
        high = number_of(last, part) if dash else low
        # A range the wrong way round is taken the right way round, as mihomo does.
        ranges.append((min(low, high), max(low, high)))
    return ranges


def number_of(text: str, whole: str) -> int:
    """Return the number that text is."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 10:
        raise ValueError(f"{whole.strip()!r} is neither a number nor a range like 1000-2000")
    return int(digits)


@final
@mypyc_attr(native_class=True)
class NumberIn(Matcher):
    """A number of the flow lies in one of some ranges."""

    def __init__(self, field: i64, ranges: list[tuple[int, int]]) -> None:
        self.field: i64 = field
        self.ranges: Final = RangeSet(ranges)

    def test(self, facts: Facts) -> i64:
        number = facts.target_port
        if self.field == SOURCE_PORT:
            number = facts.source_port
        elif self.field == IN_PORT:
            number = facts.in_port
        elif self.field == DSCP:
            number = facts.dscp
        elif self.field == UID:
            if not facts.has_process():
                return INDETERMINATE
            number = facts.uid
        return MATCHED if number >= 0 and self.ranges.has(number) else NOT_MATCHED

    def needs(self) -> i64:
        return NEEDS_PROCESS if self.field == UID else 0
