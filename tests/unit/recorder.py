"""A sink that keeps what was sent, for every test that reads frames."""

from tunproxy.wire.sink import FrameSink


class Recorder(FrameSink):
    """Keeps the frames that were sent, whole."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def write(self, frame: bytes) -> None:
        self.frames.append(frame)

    def write_parts(self, header: bytes, parts: list[bytes | memoryview]) -> None:
        self.frames.append(b"".join([header, *parts]))
