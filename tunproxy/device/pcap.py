"""A wrapper that traces the packets of a device into a capture file.

The file holds raw IP packets, without virtio_net_hdr, in the order in which they passed. It shows what
the device saw: super-packets stay whole, and a transport checksum that the kernel was going to complete
is shown partial (Wireshark calls it wrong; its preference "validate checksum" turns that off).
"""

from collections.abc import Callable
from typing import BinaryIO, Final

import dpkt.pcap  # type: ignore[import-untyped]

from tunproxy.device.base import Device
from tunproxy.wire.vnet import VNET_LEN

LINKTYPE_RAW: Final = 101  # https://www.tcpdump.org/linktypes.html: begins with an IPv4 or IPv6 header
SNAPLEN: Final = 262_144  # what tcpdump writes; larger than any super-packet


class PcapDevice(Device):
    """Passes frames through unchanged and appends each packet to file.

    now returns the time to write down, in seconds since 1970. The caller owns file, which is written
    through its own buffer: a trace is complete once it was flushed or closed.
    """

    def __init__(self, inner: Device, file: BinaryIO, now: Callable[[], float]) -> None:
        super().__init__(inner.fd)
        self._inner = inner
        self._now = now
        self._writer = dpkt.pcap.Writer(file, snaplen=SNAPLEN, linktype=LINKTYPE_RAW)

    def read(self) -> bytes | None:
        frame = self._inner.read()
        if frame is not None:
            self._trace(frame)
        return frame

    def write(self, frame: bytes) -> None:
        self._trace(frame)
        self._inner.write(frame)

    def write_parts(self, header: bytes, parts: list[bytes | memoryview]) -> None:
        self._trace(b"".join([header, *parts]))
        self._inner.write_parts(header, parts)

    def _trace(self, frame: bytes) -> None:
        self._writer.writepkt(frame[VNET_LEN:], ts=self._now())
