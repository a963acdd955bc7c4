"""Packed data, and data that unpacks without end."""

import tracemalloc
import zlib

import pytest

from tunproxy.rules.model import RuleError
from tunproxy.rulesets.unpack import pack_zstd, unpack_zlib, unpack_zstd

TEXT = b"some text that repeats, " * 1000


def test_data_comes_back() -> None:
    assert unpack_zlib(zlib.compress(TEXT), "x") == TEXT
    assert unpack_zstd(pack_zstd(TEXT), "x") == TEXT
    assert unpack_zstd(pack_zstd(TEXT) + pack_zstd(b"more"), "x") == TEXT + b"more"
    assert unpack_zstd(pack_zstd(b""), "x") == b""


def test_limit_is_the_last_length_allowed() -> None:
    assert unpack_zlib(zlib.compress(TEXT), "x", len(TEXT)) == TEXT
    assert unpack_zstd(pack_zstd(TEXT), "x", len(TEXT)) == TEXT
    for unpack, packed in ((unpack_zlib, zlib.compress(TEXT)), (unpack_zstd, pack_zstd(TEXT))):
        with pytest.raises(RuleError, match="more than 23999 octets"):
            unpack(packed, "x", len(TEXT) - 1)


@pytest.mark.parametrize("bomb", ["zlib", "zstd"])
def test_bomb_is_refused_in_bounded_memory(bomb: str) -> None:
    zeros = bytes(64 << 20)
    packed = zlib.compress(zeros) if bomb == "zlib" else pack_zstd(zeros)
    del zeros
    tracemalloc.start()
    with pytest.raises(RuleError, match="octets come out"):
        (unpack_zlib if bomb == "zlib" else unpack_zstd)(packed, "x", 1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


def test_many_small_frames_count_together() -> None:
    with pytest.raises(RuleError, match="octets come out"):
        unpack_zstd(pack_zstd(bytes(1000)) * 100, "x", 50_000)


def test_cut_and_damaged_data_is_an_error() -> None:
    for unpack, packed in ((unpack_zlib, zlib.compress(TEXT)), (unpack_zstd, pack_zstd(TEXT))):
        for end in range(1, len(packed)):
            with pytest.raises(RuleError, match="cannot unpack"):
                unpack(packed[:end], "x")
        with pytest.raises(RuleError, match="cannot unpack"):
            unpack(b"\0" + packed, "x")
