"""TIME: windows of the week, by the clock on the wall.

    TIME,mon-fri 08:00-18:00          TIME,sat+sun          TIME,22:00-06:00/mon-fri 12:00-13:00

    windows = window *( "/" window )
    window  = days [ blank hours ] / hours
    days    = part *( "+" part )       part = day [ "-" day ]      day = mon tue wed thu fri sat sun
    hours   = HH:MM "-" HH:MM          from 00:00 to 24:00, the end not included

`fri-mon` goes round the week's end. Hours whose end is before their start go on after midnight and belong to
the day on which they start: `fri 22:00-06:00` ends on Saturday. Without days it is every day, without hours
the whole day.
"""

import re
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.rules.facts import INDETERMINATE, MATCHED, NEEDS_TIME, NOT_MATCHED, Facts, Matcher
from tunproxy.rules.ranges import RangeSet

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY: Final = 24 * 60
WEEK: Final = 7 * DAY
HOURS: Final = re.compile(r"(\d\d?):(\d\d)-(\d\d?):(\d\d)")


def parse_windows(text: str) -> list[tuple[int, int]]:
    """Return the windows as minutes of the week, both ends included; raises ValueError with what is wrong."""
    return [minutes for window in text.split("/") for minutes in parse_window(window.strip())]


def parse_window(window: str) -> list[tuple[int, int]]:
    """Return one window's minutes of the week."""
    words = window.lower().split()
    if not 1 <= len(words) <= 2:
        raise ValueError(f"{window!r} is no time window (write mon-fri 08:00-18:00)")
    days = list(range(7)) if len(words) == 1 and ":" in words[0] else parse_days(words[0])
    start, end = parse_hours(words[-1]) if ":" in words[-1] else (0, DAY)
    if len(words) == 2 and ":" not in words[1]:
        raise ValueError(f"{words[1]!r} is no time of day like 08:00-18:00")
    length = (end - start) % DAY or DAY
    minutes = []
    for day in days:
        first = day * DAY + start
        last = first + length - 1
        minutes.append((first, min(last, WEEK - 1)))
        if last >= WEEK:
            minutes.append((0, last - WEEK))
    return minutes


def parse_days(text: str) -> list[int]:
    """Return the days that text names, Monday being 0."""
    days: list[int] = []
    for part in text.split("+"):
        first, dash, last = part.partition("-")
        start = day_of(first)
        end = day_of(last) if dash else start
        days.extend((start + more) % 7 for more in range((end - start) % 7 + 1))
    return sorted(set(days))


def day_of(text: str) -> int:
    """Return a day's number."""
    if text not in DAYS:
        raise ValueError(f"{text!r} is no day ({' '.join(DAYS)})")
    return DAYS.index(text)


def parse_hours(text: str) -> tuple[int, int]:
    """Return start and end of text in minutes of the day."""
    parts = HOURS.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!r} is no time of day like 08:00-18:00")
    hour, minute, end_hour, end_minute = (int(part) for part in parts.groups())
    start = hour * 60 + minute
    end = end_hour * 60 + end_minute
    if minute > 59 or end_minute > 59 or start >= DAY or end > DAY:
        raise ValueError(f"{text!r} is outside 00:00-24:00")
    if start == end:
        raise ValueError(f"{text!r} is empty (leave the hours out for the whole day)")
    return start, end


@final
@mypyc_attr(native_class=True)
class InWindow(Matcher):
    """The flow begins in one of these windows."""

    def __init__(self, windows: list[tuple[int, int]]) -> None:
        self.minutes: Final = RangeSet(windows)

    def test(self, facts: Facts) -> i64:
        if facts.minute_of_week < 0:
            facts.needs |= NEEDS_TIME
            return INDETERMINATE
        return MATCHED if self.minutes.has(facts.minute_of_week) else NOT_MATCHED

    def needs(self) -> i64:
        return NEEDS_TIME
