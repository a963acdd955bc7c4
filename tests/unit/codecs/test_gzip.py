"""gzip: one member, whose checksum is ours. What it shares with zstd is in test_packing."""

import gzip
import zlib

import pytest

from tests.unit.codecs.streams import json_lines, noise, pieces
from tests.unit.codecs.test_packing import stored, unpacked
from tunproxy.codecs.gzip import GzipPacker, GzipUnpacker
from tunproxy.flow.codec import CodecError


def test_flow_is_one_member_with_checksum_and_size() -> None:
    packer = GzipPacker()
    clear = json_lines(100) + noise(1000) + json_lines(10)
    words = (
        packer.pack(json_lines(100))
        + stored(packer, [noise(1000)])
        + packer.pack(json_lines(10))
        + packer.end()
    )
    assert gzip.decompress(words) == clear
    assert words[-8:] == zlib.crc32(clear).to_bytes(4, "little") + len(clear).to_bytes(4, "little")
    one = zlib.decompressobj(31)
    one.decompress(words)
    assert one.eof
    assert one.unused_data == b""


def test_stored_octets_cost_five_for_a_block() -> None:
    packer = GzipPacker()
    clear = noise(1 << 20)
    words = b"".join(stored(packer, [piece]) for piece in pieces(clear, 65_535)) + packer.end()
    assert len(words) == len(clear) + 17 * 5 + 10 + 2 + 8


@pytest.mark.parametrize("at", [-1, -5])
def test_wrong_size_or_checksum_is_told(at: int) -> None:
    packer = GzipPacker()
    words = bytearray(packer.pack(b"text") + packer.end())
    words[at] ^= 1
    with pytest.raises(CodecError, match=r"the gzip stream is corrupt: incorrect (data|length) check"):
        unpacked(GzipUnpacker(), bytes(words))


def test_members_in_a_row_are_one_stream() -> None:
    unpacker = GzipUnpacker()
    assert unpacked(unpacker, gzip.compress(b"one ") + gzip.compress(b"two"), 3) == b"one two"
    unpacker.check_end()


@pytest.mark.parametrize("level", [1, 9])
def test_each_level_can_be_read(level: int) -> None:
    packer = GzipPacker(level)
    words = packer.pack(json_lines(500)) + packer.end()
    assert gzip.decompress(words) == json_lines(500)
