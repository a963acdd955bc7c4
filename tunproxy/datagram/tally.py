"""Octets that came through a proxy, put down to the flows that they belong to, where somebody watches."""

from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

from tunproxy.datagram.path import Path
from tunproxy.flow.life import FlowLife
from tunproxy.wire.bits import put16
from tunproxy.wire.ip import Endpoints


@final
@mypyc_attr(native_class=True)
class Tally:
    """Counts for one carrier, whose paths are known by the octets of a frame that hold both ends."""

    def __init__(self, paths: dict[bytes, Path]) -> None:
        self._paths: Final = paths
        self._ends: Endpoints | None = None  # of whom we had octets last, and whose life it is
        self._life: FlowLife | None = None

    def add(self, ends: Endpoints, size: i64) -> None:
        """Note that the client has got size octets by frames with these ends."""
        if ends is not self._ends:
            self._ends = ends
            key = BytesWriter()
            key.write(ends.destination)
            key.write(ends.source)
            put16(key, ends.destination_port)
            put16(key, ends.source_port)
            path = self._paths.get(key.getvalue())
            self._life = path.life if path is not None else None
        life = self._life
        if life is not None:
            life.down += size
