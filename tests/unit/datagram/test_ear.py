"""When nothing that has been heard means something."""

from tunproxy.datagram.ear import PATIENCE, TRUSTED_FOR, Ear, words_for_silence


def test_ear_that_has_heard_nothing_is_deaf() -> None:
    assert Ear().is_deaf(0)


def test_ear_that_has_heard_something_is_believed_for_a_while() -> None:
    ear = Ear()
    ear.heard_at = 1000
    assert not ear.is_deaf(0)
    assert not ear.is_deaf(1000 + TRUSTED_FOR)
    assert ear.is_deaf(1001 + TRUSTED_FOR)


def test_words_name_the_time_and_what_may_be_wrong() -> None:
    words = words_for_silence(PATIENCE)
    assert "5 s" in words
    assert "password" in words
