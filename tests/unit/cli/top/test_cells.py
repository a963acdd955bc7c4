"""Text that fits into columns."""

import pytest

from tunproxy.cli.top.cells import age, drawing, fit, rate, width_of


@pytest.mark.parametrize(
    ("text", "width", "left", "right"),
    [
        ("abc", 5, "abc  ", "  abc"),
        ("abcdef", 4, "abc…", "abc…"),
        ("abc", 3, "abc", "abc"),
        ("", 2, "  ", "  "),
        ("abc", 0, "", ""),
        ("日本語", 5, "日本…", "日本…"),
        ("日本語", 4, "日… ", " 日…"),  # half a letter cannot be shown
    ],
)
def test_fit(text: str, width: int, left: str, right: str) -> None:
    assert fit(text, width) == left
    assert fit(text, width, right=True) == right
    assert width_of(left) == width


def test_width_counts_columns() -> None:
    assert [width_of(text) for text in ("abc", "日本", "e\u0301", "…")] == [3, 4, 1, 1]


@pytest.mark.parametrize(("octets", "words"), [(0, "-"), (0.2, "-"), (12, "12 B/s"), (1_250_000, "1.2 MB/s")])
def test_rate(octets: float, words: str) -> None:
    assert rate(octets) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 s"), (59.9, "59 s"), (60, "1 m"), (3599, "59 m"), (7200, "2 h"), (86_400 * 3, "3 d")],
)
def test_age(seconds: float, words: str) -> None:
    assert age(seconds) == words


def test_drawing_has_the_newest_at_the_right_and_is_as_high_as_its_highest() -> None:
    assert drawing([1000, 4000, 8000], 5) == "  ▂▅█"
    assert drawing([8000, 1000, 4000], 2) == "▃█"
    assert drawing([0, 100], 2) == " ▁"  # little is drawn as little, also where nothing is more
    assert drawing([], 3) == "   "
    assert drawing([5], 0) == ""
