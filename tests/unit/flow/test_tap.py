"""What a tap promises before anybody implements it."""

import pytest

from tunproxy.flow.tap import Tap


def test_tap_of_nobody_wants_nothing() -> None:
    tap = Tap()
    assert (tap.up_left, tap.down_left) == (0, 0)


def test_contract_without_an_implementation_says_so() -> None:
    with pytest.raises(NotImplementedError):
        Tap().take(True, b"")
    with pytest.raises(NotImplementedError):
        Tap().close("")
