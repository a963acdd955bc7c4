"""Three-valued logic."""

import itertools

import pytest

from tests.unit.rules.rulebook import flow
from tunproxy.rules.facts import INDETERMINATE, MATCHED, NEEDS_NAME, NOT_MATCHED, SKIPPED, Facts, Matcher
from tunproxy.rules.logic import AllOf, AnyOf, Not

ANSWERS = (NOT_MATCHED, MATCHED, INDETERMINATE, SKIPPED)


class Says(Matcher):
    def __init__(self, answer: int) -> None:
        self.answer = answer

    def test(self, facts: Facts) -> int:
        if self.answer == INDETERMINATE:
            facts.needs |= NEEDS_NAME
        return self.answer

    def needs(self) -> int:
        return NEEDS_NAME if self.answer == INDETERMINATE else 0


def settled(answer: int) -> list[bool]:
    """Return what an answer may still turn out to be."""
    return [False, True] if answer == INDETERMINATE else [answer == MATCHED]


@pytest.mark.parametrize(
    "answers", [*itertools.product(ANSWERS, repeat=2), *itertools.product(ANSWERS, repeat=3)]
)
@pytest.mark.parametrize(("kind", "combine"), [(AllOf, all), (AnyOf, any)])
def test_result_is_what_all_outcomes_of_the_unknown_agree_on(kind, combine, answers) -> None:
    outcomes = {combine(choice) for choice in itertools.product(*map(settled, answers))}
    expected = INDETERMINATE if len(outcomes) == 2 else MATCHED if True in outcomes else NOT_MATCHED
    facts = flow()
    assert kind([Says(answer) for answer in answers]).test(facts) == expected
    assert facts.needs == (NEEDS_NAME if expected == INDETERMINATE else 0)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(MATCHED, NOT_MATCHED), (NOT_MATCHED, MATCHED), (SKIPPED, MATCHED), (INDETERMINATE, INDETERMINATE)],
)
def test_not_turns_round(answer: int, expected: int) -> None:
    assert Not(Says(answer)).test(flow()) == expected


def test_needs_are_those_of_all_parts() -> None:
    assert AllOf([Says(MATCHED), AnyOf([Not(Says(INDETERMINATE))])]).needs() == NEEDS_NAME
