"""What every conversation begins with."""

import pytest

from tunproxy.flow.conversation import Conversation


class Silent(Conversation):
    """Says nothing."""


def test_conversation_begins_open_and_with_nothing_of_the_target() -> None:
    talk = Silent()
    assert not talk.is_over
    assert talk.rest == b""


def test_conversation_that_says_nothing_is_a_mistake_of_its_author() -> None:
    with pytest.raises(NotImplementedError):
        Silent().begin()
    with pytest.raises(NotImplementedError):
        Silent().heard(b"x")
