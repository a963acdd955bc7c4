"""What nobody has chosen yet."""

from tunproxy.control.helm.wishes import DIRECT, MODES, Wishes


def test_rules_decide_unless_somebody_chooses() -> None:
    wishes = Wishes()
    assert (wishes.choices, wishes.mode, wishes.way) == ({}, "rule", DIRECT)
    assert wishes.mode in MODES
    assert Wishes().choices is not wishes.choices


def test_mode_is_told_with_the_way_that_everything_goes() -> None:
    told = [Wishes(mode=mode, way="work").document()["rule_mode"] for mode in MODES]
    assert told == [
        {"mode": "rule", "way": ""},
        {"mode": "global", "way": "work"},
        {"mode": "direct", "way": "direct"},
    ]
    assert Wishes(mode="direct").problems() == ()
