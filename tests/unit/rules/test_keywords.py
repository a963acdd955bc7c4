"""All keywords in one pass."""

from hypothesis import given
from hypothesis import strategies as st

from tunproxy.rules.keywords import KeywordIndex
from tunproxy.rules.numbers import NONE

WORDS = st.text(alphabet="abc-", max_size=4)


@given(st.lists(WORDS, max_size=8), st.text(alphabet="abc-é", max_size=12), st.integers(0, 8))
def test_index_finds_the_lowest_rule_from_start_on(words: list[str], text: str, start: int) -> None:
    index = KeywordIndex([(word, number) for number, word in enumerate(words)])
    numbers = [number for number, word in enumerate(words) if word and word in text and number >= start]
    assert index.next(text, start) == min(numbers, default=NONE)


def test_keyword_that_no_name_has_is_never_found() -> None:
    assert KeywordIndex([("é", 0), ("", 1)]).next("café", 0) == NONE
