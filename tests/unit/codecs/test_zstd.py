"""Zstandard: frames of our own, and dictionaries. What it shares with gzip is in test_packing."""

import subprocess
from pathlib import Path

import pytest

from tests.unit.codecs.streams import json_lines, noise, pieces
from tests.unit.codecs.test_packing import stored, unpacked
from tunproxy.codecs.dictionary import Dictionary, train
from tunproxy.codecs.library import CompressionParameter, ZstdCompressor, get_frame_info
from tunproxy.codecs.zstd import WINDOW_LOG, ZstdPacker, ZstdUnpacker
from tunproxy.flow.codec import MOST_DECODED, CodecError


def trained(seed: int) -> Dictionary:
    return train([json_lines(3, seed * 1000 + at) for at in range(200)], 4096)


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return trained(1)


def test_stored_octets_cost_three_for_a_block_and_nothing_else() -> None:
    packer = ZstdPacker()
    clear = noise(1 << 20)
    words = b"".join(stored(packer, [piece]) for piece in pieces(clear, 1 << 16)) + packer.end()
    assert len(words) == len(clear) + 16 * 3 + 6 + 3 + 2 * 12
    assert clear[:1000] in words


def test_block_is_no_larger_than_the_format_allows() -> None:
    packer = ZstdPacker()
    clear = noise(300_000)
    words = stored(packer, [clear]) + packer.end()
    assert len(words) == len(clear) + 3 * 3 + 6 + 3 + 2 * 12
    assert unpacked(ZstdUnpacker(), words) == clear


def test_stored_frame_declares_a_small_window() -> None:
    packer = ZstdPacker()
    words = stored(packer, [b"x"])[12:]
    asked = ZstdCompressor(options={CompressionParameter.window_log: WINDOW_LOG})
    assert words[:4] == asked.compress(b"x" * 9, ZstdCompressor.FLUSH_FRAME)[:4]
    assert words[5] == (17 - 10) << 3  # RFC 8878 §3.1.1.1.2: exponent and mantissa


def test_frame_that_asks_for_more_memory_than_others_may_is_refused() -> None:
    greedy = ZstdCompressor(options={CompressionParameter.window_log: 27})
    words = greedy.compress(b"x" * 100) + greedy.flush()
    with pytest.raises(CodecError, match=r"corrupt: .*memory"):
        unpacked(ZstdUnpacker(), words)


def test_skippable_frame_is_skipped() -> None:
    packer, unpacker = ZstdPacker(), ZstdUnpacker()
    skippable = b"\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"
    words = skippable + packer.pack(b"text") + packer.end()
    for size in (1, 5, 1000):
        assert unpacked(ZstdUnpacker(), words, size) == b"text"
    unpacked(unpacker, words)
    unpacker.check_end()


@pytest.mark.parametrize("words", [b"", b"text"])
def test_what_follows_the_last_mark_is_corrupt(words: bytes) -> None:
    packer = ZstdPacker()
    whole = packer.pack(words) + packer.end()
    with pytest.raises(CodecError, match="it goes on behind its end"):
        unpacked(ZstdUnpacker(), whole + ZstdCompressor().flush())


def test_raw_blocks_of_ours_arrive_in_any_pieces() -> None:
    packer = ZstdPacker()
    clear = noise(200_000)
    words = packer.pack(b"before") + stored(packer, [clear[:7], clear[7:], b"x"]) + stored(packer, [b"y"])
    words += packer.pack(b"after") + stored(packer, [b"z"]) + packer.end()
    for size in (1, 2, 3, 5, 65_536, 1 << 20):
        unpacker = ZstdUnpacker()
        assert unpacked(unpacker, words, size) == b"before" + clear + b"xy" + b"after" + b"z"
        unpacker.check_end()


@pytest.mark.parametrize("head", [b"\x03\x00\x00", b"\x0c\x00\x00", b"\x09\x00\x00", b"\x08\x00\x10"])
def test_block_that_is_not_raw_in_a_frame_of_raw_ones_is_corrupt(head: bytes) -> None:
    words = stored(ZstdPacker(), [b"x"])[:-4] + head + b"x" * 10
    for size in (1, 100):
        with pytest.raises(CodecError, match="no raw block where one has to be"):
            unpacked(ZstdUnpacker(), words, size)


def test_frame_of_others_that_begins_as_raw_ones_do_is_read_by_the_library() -> None:
    text = b"text " * 1000
    other = ZstdCompressor(options={CompressionParameter.window_log: 17})
    words = other.compress(text) + other.flush()
    assert words[:6] == stored(ZstdPacker(), [b"x"])[12:18]
    assert unpacked(ZstdUnpacker(), words) == text


def test_stream_of_others_needs_no_marks() -> None:
    one = ZstdCompressor()
    unpacker = ZstdUnpacker()
    frames = [one.compress(text, ZstdCompressor.FLUSH_FRAME) for text in (b"one ", b"two")]
    assert unpacked(unpacker, b"".join(frames)) == b"one two"
    unpacker.check_end()


def test_dictionary_makes_short_messages_shorter_and_its_number_is_in_the_frame(
    dictionary: Dictionary,
) -> None:
    message = json_lines(1, 77)
    with_it, without = (ZstdPacker(dictionary=each) for each in (dictionary, None))
    words = with_it.pack(message) + with_it.end()
    assert len(words) < 0.7 * len(without.pack(message) + without.end())
    assert get_frame_info(words[12:]).dictionary_id == dictionary.number
    assert unpacked(ZstdUnpacker(dictionary), words) == message


def test_stream_with_a_dictionary_may_be_stored_and_packed_in_turn(dictionary: Dictionary) -> None:
    packer = ZstdPacker(dictionary=dictionary)
    words = packer.pack(json_lines(2)) + stored(packer, [b"as it is"]) + packer.pack(json_lines(2))
    assert unpacked(ZstdUnpacker(dictionary), words + packer.end()) == json_lines(
        2
    ) + b"as it is" + json_lines(2)


def test_other_end_without_the_dictionary_is_told_which_one(dictionary: Dictionary) -> None:
    packer = ZstdPacker(dictionary=dictionary)
    words = packer.pack(json_lines(1)) + packer.end()
    other = trained(2)
    assert other.number != dictionary.number
    for unpacker, why in (
        (ZstdUnpacker(), "there is none here"),
        (ZstdUnpacker(other), f"the one here is {other.number}"),
    ):
        for size in (1, 10_000):
            with pytest.raises(CodecError, match=f"needs the dictionary {dictionary.number}, and {why}"):
                unpacked(unpacker, words, size)


def test_program_reads_a_stream_with_a_dictionary(dictionary: Dictionary, tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.write_bytes(dictionary.data)
    packer = ZstdPacker(dictionary=dictionary)
    clear = json_lines(40)
    words = packer.pack(clear) + stored(packer, [b"stored"]) + packer.end()
    program = subprocess.run(
        ["zstd", "-dc", "-D", str(path)], input=words, capture_output=True, check=True, timeout=60
    )
    assert program.stdout == clear + b"stored"


@pytest.mark.parametrize("level", [-7, 1, 3, 19])
def test_each_level_can_be_read(level: int) -> None:
    packer = ZstdPacker(level)
    clear = json_lines(500)
    words = packer.pack(clear) + packer.end()
    assert unpacked(ZstdUnpacker(), words) == clear
    assert len(words) < len(clear) / 3


def test_raw_octets_are_handed_on_as_parts_of_what_arrived() -> None:
    clear = noise(300_000)
    packer = ZstdPacker()
    words = b"".join(packer.store([clear]))
    unpacker = ZstdUnpacker()
    found: list[bytes | memoryview] = []
    for piece in pieces(words, 1 << 16):
        parts = unpacker.unpack_pieces(piece)
        assert all(len(part) > 0 for part in parts)
        assert all(
            part is piece or (isinstance(part, memoryview) and part.obj is piece) for part in parts[1:]
        )
        found += parts
    assert b"".join(found) == clear


@pytest.mark.parametrize("size", [1, 7, 65_536, 400_000])
def test_pieces_are_what_unpack_returns(size: int) -> None:
    packer = ZstdPacker()
    words = packer.pack(b"a" * 5000) + packer.flush()
    words += b"".join(packer.store([noise(300_000)])) + packer.pack(b"b" * 5000) + packer.end()
    whole, parts = ZstdUnpacker(), ZstdUnpacker()
    for piece in pieces(words, size):
        data = piece
        while True:
            clear = whole.unpack(data)
            assert b"".join(parts.unpack_pieces(data)) == clear
            assert len(clear) <= MOST_DECODED
            assert whole.has_more() == parts.has_more()
            if not whole.has_more():
                break
            data = b""
    parts.check_end()
