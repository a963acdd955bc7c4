"""What nobody has chosen yet."""

from tunproxy.control.helm.wishes import DIRECT, MODES, Wishes


def test_rules_decide_unless_somebody_chooses() -> None:
    wishes = Wishes()
    assert (wishes.choices, wishes.mode, wishes.way) == ({}, "rule", DIRECT)
    assert wishes.mode in MODES
    assert Wishes().choices is not wishes.choices
