"""The Internet checksum, against dpkt's and the examples of RFC 1071."""

import struct

import dpkt
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, packed
from tunproxy.wire.checksum import checksum, fold, pseudo_sum


def test_example_of_rfc_1071() -> None:
    octets = bytes.fromhex("0001f203f4f5f6f7")
    assert checksum(octets, 0, 8, 0) == 0xDDF2


@given(st.binary(max_size=3000), st.integers(0, 20))
def test_sum_is_dpkts(buffer: bytes, start: int) -> None:
    start = min(start, len(buffer))
    assert ~checksum(buffer, start, len(buffer), 0) & 0xFFFF == dpkt.in_cksum(buffer[start:])


@given(st.binary(max_size=200), st.integers(0, 0xFFFF))
def test_seed_is_a_word_in_front(buffer: bytes, seed: int) -> None:
    whole = struct.pack("!H", seed) + buffer
    assert checksum(buffer, 0, len(buffer), seed) == checksum(whole, 0, len(whole), 0)


def test_largest_packet_does_not_overflow() -> None:
    assert checksum(b"\xff" * 65535, 0, 65535, 0xFFFF) == fold(0xFFFF * 32767 + 0xFF00 + 0xFFFF)
    assert checksum(b"\xff" * 65534, 0, 65534, 0) == 0xFFFF


def test_fold_carries_around() -> None:
    assert fold(0) == 0
    assert fold(0xFFFF) == 0xFFFF
    assert fold(0x1_0000) == 1
    assert fold(0x1_FFFF_FFFF_FFFF) == fold(0xFFFF * 3 + 1)


def test_pseudo_sum_is_that_of_the_pseudo_header() -> None:
    for source, destination in ((TARGET, CLIENT), (TARGET6, CLIENT6)):
        addresses = packed(source) + packed(destination)
        header = addresses + struct.pack("!HH", 0, 17)
        assert pseudo_sum(addresses, 17) == checksum(header, 0, len(header), 0)
