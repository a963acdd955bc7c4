"""What is known of a flow, and how it is put into words."""

import errno

import pytest

from tunproxy.errors import ConversationError
from tunproxy.flow.life import TARGET_RESET, FlowLife, begun_since, lost, not_reached, tallies
from tunproxy.flow.verdict import DIAL, FlowInfo, Verdict

INFO = FlowInfo("tcp", bytes(4), 1, bytes([192, 0, 2, 1]), 443)


def life() -> FlowLife:
    return FlowLife(7, INFO, Verdict(DIAL, "direct"), 1000)


def dialled(address: tuple[str, int]) -> FlowLife:
    made = life()
    made.dialled = address
    made.dialled_at = 2000
    return made


def test_flow_that_nothing_was_dialled_for_has_no_attempts() -> None:
    assert life().attempts() == []


def test_attempt_that_went_well() -> None:
    made = dialled(("192.0.2.1", 443))
    assert made.attempts() == [], "it is not over"
    made.note_dialled(0, 2500)
    assert made.attempts() == [("192.0.2.1:443", 500, "")]


def test_attempt_that_failed_keeps_its_first_result() -> None:
    made = dialled(("2001:db8::1", 80))
    made.note_dialled(errno.ECONNREFUSED, 3000)
    made.note_dialled(0, 9000)
    assert made.attempts() == [("[2001:db8::1]:80", 1000, "connection refused")]


def test_attempt_that_the_flow_did_not_outlive_had_no_answer() -> None:
    made = dialled(("192.0.2.1", 443))
    made.ended_at = 5000
    assert made.attempts() == [("192.0.2.1:443", 3000, "no answer")]


def test_attempts_of_others_come_after_our_own() -> None:
    made = dialled(("192.0.2.9", 1080))
    made.note_dialled(0, 2100)
    made.note_tried("work", 40, "wrong password")
    made.note_tried("work", 50, "")
    assert made.attempts() == [("192.0.2.9:1080", 100, ""), ("work", 40, "wrong password"), ("work", 50, "")]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "the proxy says no"), "the proxy says no"),
        (OSError("hung up"), "hung up"),
        (ConversationError("it speaks another language"), "it speaks another language"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_attempt_that_an_exception_ended_is_told_in_its_words(error: BaseException, words: str) -> None:
    made = life()
    made.note_failed("work", 30, error)
    assert made.attempts() == [("work", 30, words)]


def test_words_for_errors() -> None:
    assert not_reached(errno.EHOSTUNREACH) == "not reached: no route to host"
    assert lost(errno.ECONNRESET) == lost(errno.EPIPE) == TARGET_RESET
    assert lost(errno.ETIMEDOUT) == "lost its target: connection timed out"


def test_flows_that_are_new_are_told_from_the_rest() -> None:
    lives = [FlowLife(number, INFO, Verdict(DIAL, "direct"), number * 10) for number in (1, 2, 3)]
    lives[0].opened_at = 25
    assert [life.number for life in begun_since(lives, -1, -1)] == [1, 2, 3]
    assert [life.number for life in begun_since(lives, 20, -1)] == [1, 3]
    assert [life.number for life in begun_since(lives, 30, -1)] == []
    assert [life.number for life in begun_since(lives, 30, 1)] == [2, 3]
    assert [life.number for life in begun_since(lives, 30, 0)] == [1, 2, 3]


def test_tallies_are_in_a_row() -> None:
    lives = [FlowLife(number, INFO, Verdict(DIAL, "direct"), 0) for number in (7, 8)]
    lives[0].up, lives[1].down = 5, 1 << 40
    assert tallies(lives) == [7, 5, 0, 8, 0, 1 << 40]
    assert tallies([]) == []
