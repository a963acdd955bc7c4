"""Types of rules that plugins contribute, asked as those that are built in."""

from collections.abc import Callable

import pytest

from tunproxy.plugin.contributions import RuleKind
from tunproxy.plugin.ledger import MAX_FAULTS, Ledger
from tunproxy.plugin.rule_kinds import CustomKind, custom_kinds
from tunproxy.rules.facts import INDETERMINATE, MATCHED, NEEDS_NAME, NEEDS_PROCESS, NOT_MATCHED, Facts
from tunproxy.rules.logic import Not


class Says:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def match(self, facts: Facts) -> bool | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]  # on purpose


def kind(make: Callable[[str], object], *needs: str) -> tuple[CustomKind, Ledger]:
    ledger = Ledger()
    made = RuleKind("MOON-PHASE", make, needs)  # type: ignore[arg-type]  # on purpose
    return custom_kinds({"MOON-PHASE": ("moon", made)}, ledger)["MOON-PHASE"], ledger


def facts(**known: object) -> Facts:
    made = Facts("tcp", bytes(4), 1, bytes([192, 0, 2, 7]), 80)
    for name, value in known.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(("answer", "result"), [(True, MATCHED), (False, NOT_MATCHED)])
def test_matcher_answers_as_the_plugin_does(answer: bool, result: int) -> None:
    custom, ledger = kind(lambda payload: Says(answer))
    assert custom.matcher("full").test(facts()) == result
    assert ledger.faults() == {}


def test_matcher_that_cannot_say_names_what_is_missing() -> None:
    custom, _ = kind(lambda payload: Says(None), "name", "process")
    matcher = custom.matcher("full")
    asked = facts(process_asked=True)
    assert matcher.needs() == NEEDS_NAME | NEEDS_PROCESS
    assert matcher.test(asked) == INDETERMINATE
    assert asked.needs == NEEDS_NAME
    assert Not(matcher).test(asked) == INDETERMINATE


def test_matcher_that_cannot_say_though_all_is_known_has_not_matched() -> None:
    custom, ledger = kind(lambda payload: Says(None), "name")
    assert custom.matcher("full").test(facts(host_asked=True)) == NOT_MATCHED
    assert custom.matcher("full").test(facts(host="www.example.org")) == NOT_MATCHED
    assert ledger.faults() == {}


@pytest.mark.parametrize("answer", [RuntimeError("cloudy"), 1, 2.0, "yes"])
def test_matcher_at_fault_has_not_matched_and_is_counted(answer: object) -> None:
    custom, ledger = kind(lambda payload: Says(answer))
    matcher = custom.matcher("full")
    for _ in range(MAX_FAULTS + 1):
        assert matcher.test(facts()) == NOT_MATCHED
    assert ledger.faults() == {"moon": MAX_FAULTS}


def refuses(payload: str) -> object:
    raise ValueError(f"{payload!r} is no phase")


def breaks(payload: str) -> object:
    raise KeyError(payload)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (refuses, "'half' is no phase"),
        (breaks, r"plugin moon failed: KeyError: 'half' \(test_rule_kinds\.py:\d+\)$"),
        (lambda payload: object(), "plugin moon made <object .*>, which matches nothing"),
    ],
)
def test_payload_that_cannot_be_is_an_error_of_the_rule(make: Callable[[str], object], why: str) -> None:
    custom, _ = kind(make)
    with pytest.raises(ValueError, match=why):
        custom.kind.check("half")
    with pytest.raises(ValueError, match=why):
        custom.matcher("half")


def test_good_payload_passes_the_check() -> None:
    custom, _ = kind(lambda payload: Says(True))
    custom.kind.check("full")
    assert not custom.kind.joined
