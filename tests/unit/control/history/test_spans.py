"""Times and sizes as people write them."""

import time
from datetime import datetime

import pytest

from tunproxy.control.config.schema import HistoryConfig
from tunproxy.control.history.spans import moment_of, problems_of, seconds_of
from tunproxy.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90", 90), (90, 90), ("15m", 900), ("24H", 86_400), (" 7d ", 604_800), ("2 w", 1_209_600), ("0s", 0)],
)
def test_spans(written: str | int, seconds: int) -> None:
    assert seconds_of(written) == seconds


@pytest.mark.parametrize("wrong", ["", "h", "-1", "1y", "1.5h", "1h30m", "\u0663m", "9" * 30, True])
def test_what_is_no_span(wrong: str) -> None:
    with pytest.raises(ConfigError, match="is no span of time"):
        seconds_of(wrong)


def test_moments() -> None:
    assert moment_of("24h", now=100_000.0) == 100_000 - 86_400
    assert abs(moment_of("0") - time.time()) < 60
    assert moment_of("2026-11-22T08:00") == datetime(2026, 11, 22, 8).timestamp()
    assert moment_of("2026-11-22T08:00+00:00") == 1_795_334_400
    for wrong in ("yesterday", "", "2026-13-01"):
        with pytest.raises(ConfigError, match="is no time"):
            moment_of(wrong)


def test_what_is_wrong_with_the_table() -> None:
    assert problems_of(HistoryConfig()) == []
    assert problems_of(HistoryConfig(size="1M", age=5)) == []
    assert [key for key, _ in problems_of(HistoryConfig(size="12 apples", age="soon"))] == ["size", "age"]
    assert [why for _, why in problems_of(HistoryConfig(size=1000, age="0d"))] == [
        "1000 is too little (at least 1M)",
        "nothing would be kept (enabled = false records nothing)",
    ]
