"""Records that plugins get."""

import dataclasses

import pytest

from tunproxy.plugin.records import OBSERVED, StreamObserver, StreamPiece


class Idle(StreamObserver):
    def seen(self, piece: StreamPiece) -> None:
        pass


def test_observer_wants_what_headers_need_unless_it_says_more() -> None:
    idle = Idle()
    assert (idle.up, idle.down) == (OBSERVED, OBSERVED)
    assert idle.ended("closed") is None  # type: ignore[func-returns-value]  # it may be left out


def test_records_cannot_be_changed() -> None:
    piece = StreamPiece(True, 0, b"x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        piece.data = b""  # type: ignore[misc]  # on purpose
