"""Capsules as the packet path has them: how datagrams lie in a stream to a proxy (``capsules``)."""

from typing import Final

from tunproxy.codecs.capsules import CapsuleReader, datagram_header
from tunproxy.flow.stream_framing import StreamFraming


class CapsuleFraming(StreamFraming):
    """One stream of DATAGRAM capsules, each with the payload of one UDP datagram."""

    def __init__(self) -> None:
        self._reader: Final = CapsuleReader()

    def head(self, size: int) -> bytes:
        return datagram_header(size)

    def take(self, data: bytes) -> list[bytes]:
        return self._reader.take(data)

    def is_between(self) -> bool:
        return self._reader.is_between
