"""Captures of all kinds, and files that are none."""

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.control.history.captures import (
    interface,
    option,
    packet_block,
    pcap,
    section,
    syn,
    udp,
    written,
)
from tunproxy.control.history.capture_file import CaptureFile, Packet, ip_packet
from tunproxy.errors import ConfigError

IPV4 = syn()
IPV6 = syn(source="2001:db8::2", target="2001:db8::1")
ETHERNET = bytes(12)
VLAN = bytes.fromhex("8100 0007 88a8 0008".replace(" ", ""))


def pcap_with(size: int) -> bytes:
    """Return a capture whose one packet says that it is so long."""
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101)
    return head + struct.pack("<IIII", 1, 2, size, size) + bytes(60)


def packets(path: Path) -> list[Packet]:
    with CaptureFile(path) as capture:
        found = list(capture.packets())
        assert capture.cut_after == -1
        return found


@pytest.mark.parametrize(
    ("linktype", "head"),
    [
        (101, b""),
        (12, b""),
        (228, b""),
        (1, ETHERNET + b"\x08\x00"),
        (1, ETHERNET + VLAN + b"\x08\x00"),
        (113, bytes(14) + b"\x08\x00"),
        (276, b"\x08\x00" + bytes(18)),
        (0, b"\x02\x00\x00\x00"),
        (108, b"\x00\x00\x00\x02"),
    ],
)
def test_packets_behind_any_link(tmp_path: Path, linktype: int, head: bytes) -> None:
    path = pcap(tmp_path / "x.pcap", [head + IPV4, head + IPV4], linktype)
    assert [(found.at, found.data) for found in packets(path)] == [(1000.0, IPV4), (1000.1, IPV4)]


def test_what_is_no_ip_is_counted(tmp_path: Path) -> None:
    arp = ETHERNET + b"\x08\x06" + bytes(28)
    path = pcap(tmp_path / "x", [arp, b"", ETHERNET + b"\x86\xdd" + IPV6, ETHERNET + b"\x81\x00"], 1)
    with CaptureFile(path) as capture:
        assert [found.data for found in capture.packets()] == [IPV6]
        assert capture.others == 3
        assert capture.at() == capture.size
    assert ip_packet(276, b"\x08\x06" + bytes(18) + IPV4) == b""


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_has_interfaces_of_their_own_times_and_comments(tmp_path: Path, order: str) -> None:
    path = written(
        tmp_path / "x.pcapng",
        section(order),
        interface(101, order=order),
        interface(1, option(9, b"\x09", order) + option(0, b"", order), order),
        packet_block(IPV4, comments=["flow 1", "the end"], order=order),
        packet_block(ETHERNET + b"\x08\x00" + IPV4, 2_000_000_000_500_000_000, 1, order=order),
        section("<"),
        interface(229),
        packet_block(IPV6, 3_000_000_000),
    )
    assert packets(path) == [
        Packet(1000.0, IPV4, ("flow 1", "the end")),
        Packet(2_000_000_000.5, IPV4),
        Packet(3000.0, IPV6),
    ]


@pytest.mark.parametrize("cut", [1, 7, 20])
@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_file_that_breaks_off_is_read_up_to_there(tmp_path: Path, form: str, cut: int) -> None:
    path = tmp_path / "x"
    if form == "pcap":
        pcap(path, [IPV4, IPV4])
    else:
        written(path, section(), interface(101), packet_block(IPV4), packet_block(IPV4))
    path.write_bytes(path.read_bytes()[:-cut])
    with CaptureFile(path) as capture:
        assert len(list(capture.packets())) == 1
        assert capture.cut_after == 1


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "it is no capture"),
        (b"GIF89a", "it is no capture"),
        (b"\xd4\xc3\xb2\xa1\x02\x00", "it ends within its header"),
        (section() + interface(105), "link type 105 is none that we read"),
        (section() + packet_block(IPV4), "there is no interface 0"),
        (section() + b"\x06\x00\x00\x00\x04\x00\x00\x00", "a block of 4 octets"),
        (section() + b"\x06\x00\x00\x00\x00\x00\x00\x7f", "a block of 2130706432 octets"),
        (
            section() + interface(101) + packet_block(IPV4)[:16] + b"\xff" * 16 + packet_block(IPV4)[32:],
            "larger",
        ),
        (pcap_with(0x7FFF_FFFF), "a packet is larger than any can be"),
    ],
)
def test_what_is_no_capture_is_told(tmp_path: Path, octets: bytes, why: str) -> None:
    path = written(tmp_path / "x", octets)
    with pytest.raises(ConfigError, match=f"cannot read {path}: .*{why}"):
        packets(path)


def test_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        CaptureFile(tmp_path / "none")
    with pytest.raises(ConfigError, match="is a directory"):
        CaptureFile(tmp_path)


GOOD = section() + interface(101) + packet_block(IPV4, comments=["x"]) + packet_block(udp(b"abc"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(4, len(GOOD) - 1), st.integers(0, 255)), max_size=6),
    ng=st.booleans(),
)
def test_any_octets_are_packets_or_refused(edits: list[tuple[int, int]], ng: bool, tmp_path: Path) -> None:
    data = bytearray(GOOD if ng else pcap(tmp_path / "good", [IPV4, udp(b"abc"), IPV6]).read_bytes())
    for at, octet in edits:
        data[at % len(data)] = octet
    path = written(tmp_path / "x", bytes(data))
    with contextlib.suppress(ConfigError), CaptureFile(path) as capture:
        assert len(list(capture.packets())) <= 3
