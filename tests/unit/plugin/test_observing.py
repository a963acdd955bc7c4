"""Plugins see copies of the octets they asked for, and no others."""

from collections.abc import Callable

import pytest

from tests.unit.plugin.test_manager import plugin
from tests.unit.plugin.test_stage import FLOW
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.observing import ALL, MAX_PENDING, Observers, StreamTap
from tunproxy.plugin.records import StreamObserver, StreamPiece


class Notes(StreamObserver):
    def __init__(self, up: int, down: int, fails: bool = False) -> None:
        super().__init__(up, down)
        self.pieces: list[tuple[bool, int, bytes]] = []
        self.reason = ""
        self.fails = fails

    def seen(self, piece: StreamPiece) -> None:
        if self.fails:
            raise RuntimeError("broken")
        self.pieces.append((piece.is_up, piece.offset, piece.data))

    def ended(self, reason: str) -> None:
        self.reason = reason


class Window:
    """Plugins that observe, and when they have been asked to look."""

    def __init__(self, *answers: object) -> None:
        self.plugins = Plugins()
        self.calls: list[Callable[[], None]] = []
        for number, answer in enumerate(reversed(answers)):
            assert self.plugins.register(plugin(observe_flow=lambda answer=answer: answer), f"p{number}")
        self.observers = Observers(self.plugins, lambda seconds, function: self.calls.append(function))

    def tap(self) -> StreamTap:
        found = self.observers.tap(FLOW)
        assert found is not None
        return found

    def look(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def test_tap_without_interest_is_none() -> None:
    assert Window(None, None).observers.tap(FLOW) is None
    assert not Window().observers.has_any


@pytest.mark.parametrize("bad", ["all", Notes(-2, 0), object()])
def test_tap_wrong_answer_is_a_fault(bad: object) -> None:
    window = Window(bad)
    assert window.observers.tap(FLOW) is None
    assert window.plugins.ledger.faults() == {"p0": 1}


def test_tap_octets_are_copied_and_shown_later() -> None:
    notes = Notes(ALL, ALL)
    window = Window(notes)
    tap = window.tap()
    buffer = bytearray(b"hello")
    tap.take(True, memoryview(buffer))
    buffer[:] = b"xxxxx"
    tap.take(False, b"hi")
    tap.take(True, b"!")
    tap.close("reset by client")
    assert (notes.pieces, len(window.calls)) == ([], 1)
    window.look()
    assert notes.pieces == [(True, 0, b"hello"), (False, 0, b"hi"), (True, 5, b"!")]
    assert notes.reason == "reset by client"


def test_tap_ends_when_all_is_seen_that_was_wanted() -> None:
    notes = Notes(4, 2)
    window = Window(notes)
    tap = window.tap()
    assert (tap.up_left, tap.down_left) == (4, 2)
    tap.take(True, b"abcdef")
    assert (tap.up_left, tap.down_left) == (0, 2)
    window.look()
    assert notes.reason == ""
    tap.take(True, b"more")
    tap.take(False, b"x")
    tap.take(False, b"yz")
    window.look()
    assert notes.pieces == [(True, 0, b"abcd"), (False, 0, b"x"), (False, 1, b"y")]
    assert notes.reason == "seen"
    assert (tap.up_left, tap.down_left) == (0, 0)
    tap.close("closed")
    assert window.calls == []


def test_tap_observers_see_each_as_much_as_they_want() -> None:
    little, much, one_way = Notes(2, 0), Notes(ALL, 0), Notes(0, 3)
    window = Window(little, much, one_way)
    tap = window.tap()
    assert (tap.up_left, tap.down_left) == (ALL, 3)
    tap.take(True, b"abc")
    tap.take(True, b"def")
    tap.take(False, b"12345")
    window.look()
    assert [piece[2] for piece in little.pieces] == [b"ab"]
    assert [piece[2] for piece in much.pieces] == [b"abc", b"def"]
    assert [piece[2] for piece in one_way.pieces] == [b"123"]
    assert (little.reason, much.reason, one_way.reason) == ("seen", "", "seen")


def test_tap_without_room_leaves_a_gap_that_offsets_show() -> None:
    notes = Notes(ALL, 0)
    window = Window(notes)
    tap = window.tap()
    tap.take(True, bytes(MAX_PENDING))
    tap.take(True, b"lost")
    window.look()
    tap.take(True, b"kept")
    window.look()
    assert [(offset, len(data)) for _, offset, data in notes.pieces] == [
        (0, MAX_PENDING),
        (MAX_PENDING + 4, 4),
    ]


def test_observer_that_fails_sees_no_more_and_others_do() -> None:
    bad, good = Notes(ALL, 0, fails=True), Notes(ALL, 0)
    window = Window(bad, good)
    tap = window.tap()
    tap.take(True, b"a")
    tap.take(True, b"b")
    tap.close("closed")
    window.look()
    assert [data for _, _, data in good.pieces] == [b"a", b"b"]
    assert sum(window.plugins.ledger.faults().values()) == 1
    assert (bad.reason, good.reason) == ("", "closed")
