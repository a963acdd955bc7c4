"""Every reason has a number and a name of its own."""

from tunproxy.wire import reasons


def test_names_are_those_of_the_numbers() -> None:
    numbers = {
        name: value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, int)
    }
    assert sorted(numbers.values()) == list(range(len(reasons.NAMES)))
    for name, number in numbers.items():
        words = reasons.NAMES[number]
        assert words.replace("-", "_").startswith(name.lower())


def test_ok_is_no_reason() -> None:
    assert reasons.OK == 0
    assert len(set(reasons.NAMES)) == len(reasons.NAMES)
