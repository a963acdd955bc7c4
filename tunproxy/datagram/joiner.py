"""Puts datagrams for the client together that came one by one, or behind headers that had to be cut off."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.datagram.outlet import MAX_JOINED, Outlet
from tunproxy.datagram.path import MAX_SEGMENTS
from tunproxy.wire.ip import Endpoints


@final
@mypyc_attr(native_class=True)
class Joiner:
    """Writes to outlet, in order. Who has added something flushes before its payloads change."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet: Final = outlet
        self._ends: Endpoints | None = None  # of those that wait
        self._parts: list[bytes | memoryview] = []
        self._unit: i64 = 0  # size of every one of them but the last
        self._total: i64 = 0
        self._is_full: bool = False

    def add(self, ends: Endpoints, payload: bytes | memoryview, size: i64) -> None:
        """Send a datagram of size octets, with others of the same source where that can be."""
        if (
            ends is self._ends
            and not self._is_full
            and 0 < size <= self._unit
            and self._total + size <= MAX_JOINED
        ):
            self._parts.append(payload)
            self._total += size
            self._is_full = size < self._unit or len(self._parts) == MAX_SEGMENTS
            return
        self.flush()
        self._ends = ends
        self._parts.append(payload)
        self._unit = size
        self._total = size
        self._is_full = not self._outlet.joins(ends, size)

    def flush(self) -> None:
        """Send what waits."""
        ends = self._ends
        if ends is None:
            return
        parts = self._parts
        self._ends = None
        self._parts = []
        if len(parts) == 1:
            self._outlet.send(ends, parts[0])
        else:
            self._outlet.send_joined(ends, parts, self._total, self._unit)
