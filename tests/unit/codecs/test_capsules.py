"""Capsules: RFC 9000's integers, datagrams cut anywhere, and what is skipped or refused."""

import random

import pytest

from tunproxy.codecs.capsules import (
    MAX_UDP_PAYLOAD,
    CapsuleReader,
    datagram_header,
    emit_datagram,
    emit_varint,
    parse_varint,
)
from tunproxy.errors import RemoteProtocolError


# RFC 9000 §A.1
@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("c2197c5eff14e88c", 151_288_809_941_952_652),
        ("9d7f3e7d", 494_878_333),
        ("7bbd", 15_293),
        ("25", 37),
    ],
)
def test_integers_of_the_rfc(written: str, value: int) -> None:
    octets = bytes.fromhex(written)
    assert parse_varint(octets, 0) == (value, len(octets))
    assert emit_varint(value) == octets


def test_integer_may_be_longer_than_it_need_be() -> None:
    assert parse_varint(bytes.fromhex("4025"), 0) == (37, 2)


@pytest.mark.parametrize("octets", ["", "40", "800000", "c0000000000000"])
def test_integer_that_is_cut_off(octets: str) -> None:
    assert parse_varint(bytes.fromhex(octets), 0)[1] == -1


@pytest.mark.parametrize("step", [1, 2, 7, 1 << 20])
def test_datagrams_cut_anywhere(step: int) -> None:
    sent = [b"", b"x", bytes(range(256)), b"y" * 70, b"z" * 20_000]
    stream = b"".join(map(emit_datagram, sent))
    reader = CapsuleReader()
    heard: list[bytes] = []
    for at in range(0, len(stream), step):
        heard += reader.take(stream[at : at + step])
    assert heard == sent
    assert reader.is_between


def test_header_is_that_of_the_datagram() -> None:
    for length in (0, 62, 63, 64, 1200, 16_382, 16_383, MAX_UDP_PAYLOAD):
        assert datagram_header(length) + bytes(length) == emit_datagram(bytes(length))
    assert CapsuleReader().take(emit_datagram(bytes(MAX_UDP_PAYLOAD))) == [bytes(MAX_UDP_PAYLOAD)]


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_other_types_and_contexts_are_skipped(step: int) -> None:
    other = emit_varint(0x1234) + emit_varint(5000) + bytes(5000)
    context = b"\x00" + emit_varint(4) + b"\x02abc"
    stream = other + emit_datagram(b"one") + context + other + emit_datagram(b"two")
    reader = CapsuleReader()
    heard: list[bytes] = []
    for at in range(0, len(stream), step):
        heard += reader.take(stream[at : at + step])
    assert heard == [b"one", b"two"]


def test_endless_capsule_is_not_kept() -> None:
    reader = CapsuleReader()
    assert reader.take(emit_varint(99) + emit_varint((1 << 62) - 1)) == []
    for _ in range(100):
        assert reader.take(bytes(100_000)) == []
    assert len(reader._kept) == 0
    assert not reader.is_between


@pytest.mark.parametrize(
    "stream",
    [
        b"\x00" + emit_varint(MAX_UDP_PAYLOAD + 9),
        b"\x00" + emit_varint(MAX_UDP_PAYLOAD + 2) + b"\x00" + bytes(MAX_UDP_PAYLOAD + 1),
        b"\x00\x00",
        b"\x00\x01\x40",
    ],
)
def test_datagram_that_cannot_be_is_refused(stream: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        CapsuleReader().take(stream)


def test_mutated_streams_raise_nothing_else() -> None:
    """A stream keeps what it needs to go on with, and no more."""
    chance = random.Random(9298)
    seed = b"".join(emit_datagram(bytes(chance.randrange(300))) for _ in range(6)) + b"\x40\x99\x05hello"
    for _ in range(20_000):
        stream = bytearray(seed)
        for _ in range(chance.randrange(1, 8)):
            stream[chance.randrange(len(stream))] = chance.randrange(256)
        reader = CapsuleReader()
        try:
            cut = chance.randrange(len(stream))
            reader.take(bytes(stream[:cut]))
            reader.take(bytes(stream[cut:]))
        except RemoteProtocolError:
            continue
        assert len(reader._kept) <= len(stream)
