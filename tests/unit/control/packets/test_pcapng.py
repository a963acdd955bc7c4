"""Blocks of pcapng: what we write, dpkt reads."""

import io
import struct

import dpkt.pcapng  # type: ignore[import-untyped]
import pytest

from tunproxy.control.packets import pcapng
from tunproxy.control.packets.pcapng import Blocks, counts_of

AT = 1_795_305_600_123_456_789
HEAD = pcapng.section("all about it", "Linux 6", "tunproxy 0.1") + pcapng.interface(
    "tun0", "a device", 1000, "port:443", "Linux 6"
)


def options_of(block: object) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    for option in block.opts:  # type: ignore[attr-defined]
        found.setdefault(option.code, []).append(bytes(option.data))
    return found


def test_head_says_what_it_is() -> None:
    size = struct.unpack_from("<I", HEAD, 4)[0]
    section = dpkt.pcapng.SectionHeaderBlockLE(HEAD[:size])
    assert options_of(section)[1] == [b"all about it"]
    assert options_of(section)[4] == [b"tunproxy 0.1"]
    interface = dpkt.pcapng.InterfaceDescriptionBlockLE(HEAD[size:])
    assert (interface.linktype, interface.snaplen) == (101, 1000)
    said = options_of(interface)
    assert (said[2], said[9], said[11]) == ([b"tun0"], [b"\x09"], [b"\0port:443"])


@pytest.mark.parametrize("data", [b"", b"x", b"abcd", bytes(1501)])
def test_packet_is_read_back(data: bytes) -> None:
    made = pcapng.packet(
        AT, data, 2000, flags=pcapng.OUTBOUND, comments=("whose it is: π", "the end"), lost=7, queue=1
    )
    read = list(dpkt.pcapng.Reader(io.BytesIO(HEAD + made)))
    assert [each for _, each in read] == [data]
    assert round(read[0][0] * 1000) == AT // 1_000_000
    block = dpkt.pcapng.EnhancedPacketBlockLE(made)
    assert (block.caplen, block.pkt_len) == (len(data), 2000)
    assert (block.ts_high << 32 | block.ts_low) == AT
    said = options_of(block)
    assert said[1] == ["whose it is: π".encode(), b"the end"]
    assert said[2] == [struct.pack("<I", 2)]
    assert said[4] == [struct.pack("<Q", 7)]
    assert said[6] == [struct.pack("<I", 1)]


def test_packet_says_no_more_than_there_is() -> None:
    said = options_of(dpkt.pcapng.EnhancedPacketBlockLE(pcapng.packet(AT, b"data", 4, flags=pcapng.INBOUND)))
    assert {key for key in said if key} == {2}


def test_names_are_records_of_addresses() -> None:
    made = pcapng.names([(bytes([192, 0, 2, 1]), "shop.example"), (bytes(15) + b"\1", "six.example")])
    assert struct.unpack_from("<II", made) == (4, len(made))
    assert struct.unpack_from("<HH", made, 8) == (1, 17)
    assert made[12:29] == b"\xc0\0\2\1shop.example\0"
    assert struct.unpack_from("<HH", made, 32) == (2, 28)
    assert made[36:64] == bytes(15) + b"\1six.example\0"
    assert made[64:68] == bytes(4)


def test_name_has_no_end_in_the_middle() -> None:
    assert b"a?b?c\0" in pcapng.names([(bytes(4), "a\0b\udcffc")])


def test_statistics_count() -> None:
    made = pcapng.statistics(AT, AT + 5, 10, 3, 7, "three are missing")
    assert counts_of(made) == {pcapng.RECEIVED: 10, pcapng.DROPPED: 3, pcapng.DELIVERED: 7}
    assert b"three are missing" in made
    assert counts_of(pcapng.statistics(0, 0, 1 << 70, 0, 0, ""))[pcapng.RECEIVED] == (1 << 64) - 1


def test_comment_that_is_too_long_is_cut_between_letters() -> None:
    option = pcapng.option(pcapng.COMMENT, "π" * 40_000)
    size = struct.unpack_from("<H", option, 2)[0]
    assert size == 65_534
    assert option[4 : 4 + size].decode() == "π" * 32_767


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_stream_is_cut_into_blocks(step: int) -> None:
    made = HEAD + pcapng.packet(AT, b"data!", 5, flags=1) + pcapng.names([(bytes(4), "x")])
    cutter = Blocks()
    found = [each for at in range(0, len(made), step) for each in cutter.feed(made[at : at + step])]
    assert [kind for kind, _ in found] == [
        pcapng.SECTION_HEADER,
        pcapng.INTERFACE,
        pcapng.PACKET,
        pcapng.NAMES,
    ]
    assert b"".join(octets for _, octets in found) == made


@pytest.mark.parametrize("size", [8, 13, 2 << 20])
def test_nonsense_is_no_block(size: int) -> None:
    with pytest.raises(ValueError, match="a block of"):
        list(Blocks().feed(struct.pack("<III", 6, size, 0)))
