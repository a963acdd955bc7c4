"""TIME windows."""

import pytest

from tests.unit.rules.rulebook import compiled, flow, matches
from tunproxy.rules.facts import NEEDS_TIME
from tunproxy.rules.moments import DAYS, parse_windows
from tunproxy.rules.policy import UNDECIDED


def minute(moment: str) -> int:
    day, time = moment.split()
    hour, minutes = time.split(":")
    return DAYS.index(day) * 1440 + int(hour) * 60 + int(minutes)


@pytest.mark.parametrize(
    ("windows", "inside", "outside"),
    [
        ("mon-fri 08:00-18:00", ["mon 08:00", "fri 17:59"], ["mon 07:59", "fri 18:00", "sat 12:00"]),
        ("sat+sun", ["sat 00:00", "sun 23:59"], ["fri 23:59", "mon 00:00"]),
        ("fri-mon", ["fri 00:00", "mon 23:59"], ["tue 00:00", "thu 23:59"]),
        ("22:00-06:00", ["mon 23:00", "mon 05:59", "sun 22:00"], ["mon 06:00", "mon 21:59"]),
        ("fri 22:00-06:00", ["fri 22:00", "sat 05:59"], ["fri 05:00", "sat 06:00", "sat 22:00"]),
        ("sun 22:00-06:00", ["sun 22:00", "mon 05:59"], ["sun 05:00", "mon 06:00"]),
        ("MON 08:00-09:00 / tue+thu-fri 9:00-24:00", ["mon 08:30", "thu 23:59"], ["wed 10:00", "fri 08:59"]),
        ("mon 00:00-24:00", ["mon 00:00", "mon 23:59"], ["tue 00:00", "sun 23:59"]),
    ],
)
def test_moment_is_in_a_window(windows: str, inside: list[str], outside: list[str]) -> None:
    line = f"TIME,{windows},A"
    assert [when for when in inside if not matches(line, flow(minute_of_week=minute(when)))] == []
    assert [when for when in outside if matches(line, flow(minute_of_week=minute(when)))] == []


@pytest.mark.parametrize(
    "windows",
    ["", "moo", "mon-", "08:00", "08:00-08:00", "24:00-01:00", "08:60-09:00", "mon 8-9", "mon 08:00-09:00 x"],
)
def test_what_is_no_window_is_an_error(windows: str) -> None:
    with pytest.raises(ValueError, match=r"no time window|is no day|time of day|outside|is empty"):
        parse_windows(windows)


def test_time_that_is_not_handed_in_is_needed() -> None:
    facts = flow(minute_of_week=-1)
    assert compiled("TIME,mon,A").match(facts) == UNDECIDED
    assert facts.needs == NEEDS_TIME
