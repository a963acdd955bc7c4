"""The levels of the memory budget."""

import pytest

from tunproxy.flow.budget import CALM, FULL, LEVEL_NAMES, PRESSURE, Budget


def levels(*sums: int) -> list[str]:
    """Return the level at each of these sums, one after the other, of a budget of 800 octets."""
    budget = Budget(800)
    found = []
    for total in sums:
        budget.charge(total - budget.used)
        found.append(LEVEL_NAMES[budget.level])
    return found


@pytest.mark.parametrize(
    ("sums", "expected"),
    [
        ((0, 599), ["calm", "calm"]),
        ((600, 799, 800, 5000), ["pressure", "pressure", "full", "full"]),
        ((5000,), ["full"]),
        ((800, 799, 500, 499), ["full", "pressure", "pressure", "calm"]),
        ((800, 499), ["full", "calm"]),
        ((600, 500, 499, 599, 600), ["pressure", "pressure", "calm", "calm", "pressure"]),
        ((5000, 4000, 799, 800), ["full", "full", "pressure", "full"]),
    ],
    ids=str,
)
def test_level_follows_the_sum_and_pressure_lasts_a_while(sums: tuple[int, ...], expected: list[str]) -> None:
    assert levels(*sums) == expected


def test_pressure_is_news_each_time_it_begins() -> None:
    budget = Budget(800)
    budget.charge(599)
    assert not budget.is_news
    budget.charge(1)
    assert budget.is_news
    budget.is_news = False
    budget.charge(300)  # from pressure to full is none
    assert (budget.level, budget.is_news) == (FULL, False)
    budget.charge(-900)
    budget.charge(650)
    assert (budget.level, budget.is_news) == (PRESSURE, True)


def test_used_is_the_sum_of_all_charges() -> None:
    budget = Budget(800)
    for change in (5, 700, -705, 1000, -1):
        budget.charge(change)
    assert (budget.used, budget.level) == (999, FULL)
    budget.charge(-999)
    assert (budget.used, budget.level) == (0, CALM)
