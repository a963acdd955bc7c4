"""Datagrams on their way to the client, in as few frames as the device takes."""

from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

from tunproxy.datagram.fragments import emit_fragments, whole_datagram
from tunproxy.wire.ip import IPV6_LEN, MAX_PACKET, Endpoints
from tunproxy.wire.sink import FrameSink
from tunproxy.wire.udp import HEADER_LEN, emit_udp
from tunproxy.wire.vnet import VNET_LEN

MAX_JOINED: Final[i64] = MAX_PACKET - IPV6_LEN - HEADER_LEN  # payload of one frame, in either family


@final
@mypyc_attr(native_class=True)
class Outlet:
    """Writes datagrams to sink.

    mtu is the device's; has_uso4 and has_uso6 say whether it takes several datagrams in one frame;
    scratch is shared by everybody who builds frames on this thread.
    """

    def __init__(self, sink: FrameSink, mtu: i64, has_uso4: bool, has_uso6: bool) -> None:
        self.sink: Final = sink
        self.scratch: Final = BytesWriter()
        self.mtu: Final = mtu
        self._has_uso4: Final = has_uso4
        self._has_uso6: Final = has_uso6
        self._identification: i64 = 0

    def joins(self, ends: Endpoints, size: i64) -> bool:
        """Tell whether several datagrams of size octets may go to the client in one super-packet."""
        if not (self._has_uso6 if ends.is_ipv6 else self._has_uso4):
            return False
        return 0 < size <= self.mtu - ends.header_len - HEADER_LEN

    def send_joined(self, ends: Endpoints, parts: list[bytes | memoryview], total: i64, size: i64) -> None:
        """Write several datagrams, for which joins() is true, as one frame.

        parts are total octets of payload; cut every size octets they are the datagrams. total may be at
        most MAX_JOINED.
        """
        scratch = self.scratch
        emit_udp(scratch, ends, total, size)
        self.sink.write_parts(scratch.getvalue(), parts)

    def send(self, ends: Endpoints, payload: memoryview | bytes) -> None:
        """Write one datagram, in fragments where it is too large for the device."""
        size = i64(len(payload))
        if ends.header_len + HEADER_LEN + size <= self.mtu:
            scratch = self.scratch
            emit_udp(scratch, ends, size, 0)
            self.sink.write(b"".join([scratch.getvalue(), payload]))
            return
        self._send_fragments(ends, whole_datagram(self.scratch, ends, bytes(payload)))

    def send_whole(self, ends: Endpoints, frame: bytes) -> None:
        """Write a frame whose checksums are complete, in fragments where it is too large for the device."""
        if len(frame) - VNET_LEN <= self.mtu:
            self.sink.write(frame)
        else:
            self._send_fragments(ends, frame[VNET_LEN + ends.header_len :])

    def _send_fragments(self, ends: Endpoints, message: bytes) -> None:
        self._identification += 1
        for frame in emit_fragments(self.scratch, ends, message, self.mtu, self._identification):
            self.sink.write(frame)
