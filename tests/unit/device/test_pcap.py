"""The tracing wrapper, read back by dpkt."""

import io

import dpkt

from tunproxy.device.memory import MemoryDevice
from tunproxy.device.pcap import LINKTYPE_RAW, PcapDevice
from tunproxy.wire.vnet import PLAIN


def traced(*frames: bytes) -> tuple[MemoryDevice, PcapDevice, io.BytesIO]:
    inner, file = MemoryDevice(), io.BytesIO()
    inner.inbound.extend(frames)
    return inner, PcapDevice(inner, file, now=iter(range(1, 100)).__next__), file


def packets(file: io.BytesIO) -> list[tuple[float, bytes]]:
    file.seek(0)
    reader = dpkt.pcap.Reader(file)
    assert reader.datalink() == LINKTYPE_RAW
    return list(reader)


def test_trace_holds_packets_of_both_directions_without_vnet_header() -> None:
    inner, device, file = traced(PLAIN + b"E-in", PLAIN + b"E-again")
    assert device.read() == PLAIN + b"E-in"
    device.write(PLAIN + b"E-out")
    device.write_parts(PLAIN + b"E-pa", [b"r", b"ts"])
    assert device.read() == PLAIN + b"E-again"
    assert device.read() is None
    assert list(inner.outbound) == [PLAIN + b"E-out", PLAIN + b"E-parts"]
    assert packets(file) == [(1, b"E-in"), (2, b"E-out"), (3, b"E-parts"), (4, b"E-again")]


def test_trace_keeps_super_packets_whole() -> None:
    _, device, file = traced()
    device.write(PLAIN + bytes(65_575))
    assert packets(file) == [(1, bytes(65_575))]


def test_trace_shares_the_descriptor_of_the_inner_device() -> None:
    inner = MemoryDevice()
    inner.fd = 7
    assert PcapDevice(inner, io.BytesIO(), now=float).fd == 7
