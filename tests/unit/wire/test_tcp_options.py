"""TCP options, against dpkt and any octets."""

import random
import struct

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from tunproxy.wire.tcp import Segment
from tunproxy.wire.tcp_options import (
    MAX_SHIFT,
    TIMESTAMPS_LEN,
    clear_options,
    parse_options,
    put_sack,
    put_syn_options,
    put_timestamps,
)

WORDS = st.integers(0, 2**32 - 1)
USUAL = bytes.fromhex("020405b40402080a00000001000000020103030701010512000000010000000200000003000000040000")


def read(options: bytes) -> Segment:
    seg = Segment()
    seg.frame = options
    parse_options(options, 0, len(options), seg)
    return seg


def fields(seg: Segment) -> tuple[int, int, bool, int, int, int]:
    return seg.mss, seg.wnd_shift, seg.sack_permitted, seg.ts_val, seg.ts_ecr, seg.sack_count


ABSENT = (-1, -1, False, -1, -1, 0)


@given(
    mss=st.integers(0, 65535),
    shift=st.integers(-1, 14),
    sack=st.booleans(),
    ts_val=st.integers(-1, 2**32 - 1),
    ts_ecr=WORDS,
)
def test_options_of_a_syn_are_read_as_they_were_put(
    mss: int, shift: int, sack: bool, ts_val: int, ts_ecr: int
) -> None:
    out = BytesWriter()
    put_syn_options(out, mss, shift, sack, ts_val, ts_ecr)
    options = out.getvalue()
    assert len(options) % 4 == 0
    assert len(options) <= 40
    assert fields(read(options)) == (mss, shift, sack, ts_val, ts_ecr if ts_val >= 0 else -1, 0)
    theirs = dict(dpkt.tcp.parse_opts(options))
    assert theirs[2] == struct.pack("!H", mss)
    assert (3 in theirs, 4 in theirs, 8 in theirs) == (shift >= 0, sack, ts_val >= 0)


@given(WORDS, WORDS)
def test_timestamps_are_twelve_octets(ts_val: int, ts_ecr: int) -> None:
    out = BytesWriter()
    put_timestamps(out, ts_val, ts_ecr)
    assert len(out.getvalue()) == TIMESTAMPS_LEN
    assert dict(dpkt.tcp.parse_opts(out.getvalue()))[8] == struct.pack("!II", ts_val, ts_ecr)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_sack_blocks_are_read_as_they_were_put(blocks: list[tuple[int, int]]) -> None:
    out = BytesWriter()
    put_sack(out, blocks)
    seg = read(out.getvalue())
    assert [(seg.sack_left(at), seg.sack_right(at)) for at in range(seg.sack_count)] == blocks


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (b"", ABSENT),
        (bytes([0, 2, 4, 5, 180]), ABSENT),
        (bytes([1, 1, 2, 4, 5, 180]), (1460, -1, False, -1, -1, 0)),
        (bytes([3, 3, 15]), (-1, MAX_SHIFT, False, -1, -1, 0)),
        (bytes([2, 4, 5]), ABSENT),
        (bytes([2]), ABSENT),
        (bytes([2, 0, 4, 2]), ABSENT),
        (bytes([2, 1, 4, 2]), ABSENT),
        (bytes([2, 3, 5, 4, 2]), (-1, -1, True, -1, -1, 0)),
        (bytes([5, 9, 1, 2, 3, 4, 5, 6, 7, 4, 2]), (-1, -1, True, -1, -1, 0)),
        (bytes([253, 4, 1, 2, 4, 2]), (-1, -1, True, -1, -1, 0)),
        (bytes([4, 2, 8, 10, 0]), (-1, -1, True, -1, -1, 0)),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else "",
)
def test_option_list(options: bytes, expected: tuple[int, int, bool, int, int, int]) -> None:
    assert fields(read(options)) == expected


@given(st.binary(max_size=40))
def test_any_octets_are_read_without_an_exception(options: bytes) -> None:
    seg = read(options)
    for at in range(seg.sack_count):
        seg.sack_left(at)
        seg.sack_right(at)
    assert seg.wnd_shift <= MAX_SHIFT


def test_clear_leaves_nothing() -> None:
    seg = read(bytes([2, 4, 5, 180, 4, 2, 3, 3, 7]))
    clear_options(seg)
    assert fields(seg) == ABSENT


def test_mutated_options_never_raise_and_stay_inside() -> None:
    """The usual options with a few faults each, cut to any length, anywhere in a frame."""
    draw = random.Random(7323)
    for _ in range(20_000):
        options = bytearray(USUAL)
        for _ in range(draw.randrange(4)):
            options[draw.randrange(len(options))] = draw.choice((0, 1, 2, 5, 8, 255, draw.randrange(256)))
        at = draw.randrange(len(options))
        end = draw.randrange(at, len(options) + 1)
        seg = Segment()
        seg.frame = bytes(options)
        parse_options(seg.frame, at, end, seg)
        assert -1 <= seg.mss <= 65535
        assert -1 <= seg.wnd_shift <= MAX_SHIFT
        assert 0 <= seg.sack_count <= 4
        assert not seg.sack_count or at <= seg.sack_off <= seg.sack_off + 8 * seg.sack_count <= end
        parse_options(seg.frame, end, end, seg)
        assert fields(seg) == ABSENT, "what an earlier segment had is forgotten"
