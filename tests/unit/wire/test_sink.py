"""The outlet for frames, as interpreted code may implement it."""

import pytest

from tunproxy.wire.sink import FrameSink


class Joining(FrameSink):
    def __init__(self) -> None:
        self.written = b""

    def write(self, frame: bytes) -> None:
        self.written += frame

    def write_parts(self, header: bytes, parts: list[bytes | memoryview]) -> None:
        self.write(b"".join([header, *parts]))


def test_sink_can_be_implemented_outside() -> None:
    sink = Joining()
    sink.write(b"one")
    sink.write_parts(b"two", [b"three", memoryview(b"four")])
    assert sink.written == b"onetwothreefour"


def test_sink_itself_takes_nothing() -> None:
    with pytest.raises(NotImplementedError):
        FrameSink().write(b"")
    with pytest.raises(NotImplementedError):
        FrameSink().write_parts(b"", [])
