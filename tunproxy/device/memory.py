"""A device made of two queues: tests and the simulator are its other side."""

from collections import deque

from tunproxy.device.base import Device


class MemoryDevice(Device):
    """Hands out the frames put into ``inbound`` and collects in ``outbound`` what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.inbound: deque[bytes] = deque()
        self.outbound: deque[bytes] = deque()

    def read(self) -> bytes | None:
        return self.inbound.popleft() if self.inbound else None

    def write(self, frame: bytes) -> None:
        self.outbound.append(frame)

    def write_parts(self, header: bytes, parts: list[bytes | memoryview]) -> None:
        self.outbound.append(b"".join([header, *parts]))
