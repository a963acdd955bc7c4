"""What every format of compression keeps to."""

import itertools
import random
import subprocess

import pytest

from tests.unit.codecs.streams import json_lines, noise, pieces
from tunproxy.codecs.gzip import GzipPacker, GzipUnpacker
from tunproxy.codecs.packing import Packer, Unpacker
from tunproxy.codecs.zstd import ZstdPacker, ZstdUnpacker
from tunproxy.flow.codec import MOST_DECODED, CodecError

FORMATS = {"zstd": (ZstdPacker, ZstdUnpacker), "gzip": (GzipPacker, GzipUnpacker)}
BOTH = pytest.mark.parametrize("name", FORMATS)


def ends(name: str) -> tuple[Packer, Unpacker]:
    packer, unpacker = FORMATS[name]
    return packer(), unpacker()


def stored(packer: Packer, pieces: list[bytes | memoryview]) -> bytes:
    return b"".join(packer.store(pieces))


def unpacked(unpacker: Unpacker, words: bytes, size: int = 1 << 16) -> bytes:
    found = bytearray()
    for piece in pieces(words, size):
        found += unpacker.unpack(piece)
        while unpacker.has_more():
            found += unpacker.unpack(b"")
    return bytes(found)


@BOTH
@pytest.mark.parametrize("seed", range(8))
def test_any_mixture_is_one_stream_for_us_and_for_the_formats_own_program(name: str, seed: int) -> None:
    chance = random.Random(seed)
    packer, unpacker = ends(name)
    clear, words = bytearray(), bytearray()
    for _ in range(40):
        size = chance.choice([0, 1, 100, 5000, 70_000, 140_000])
        data = chance.choice([json_lines(1 + size // 200, seed), noise(size, seed)])[:size]
        action = chance.randrange(4)
        if action < 2:
            words += packer.pack(data)
        else:
            cut = chance.randrange(size + 1)
            words += stored(packer, [data[:cut], memoryview(data)[cut:]])
        clear += data
        if action in (1, 3):
            words += packer.flush()
            assert unpacked(ends(name)[1], bytes(words)) == clear  # all of it can be read at once
    words += packer.end()
    assert unpacked(unpacker, bytes(words), chance.choice([1000, 9999, 65536])) == clear
    unpacker.check_end()
    program = subprocess.run([name, "-dc"], input=bytes(words), capture_output=True, check=True, timeout=60)
    assert program.stdout == clear


@BOTH
def test_what_the_formats_own_program_packs_can_be_read(name: str) -> None:
    clear = json_lines(5000) + noise(100_000)
    words = subprocess.run([name, "-c"], input=clear, capture_output=True, check=True, timeout=60).stdout
    unpacker = ends(name)[1]
    assert unpacked(unpacker, words, 777) == clear
    unpacker.check_end()


@BOTH
def test_octet_by_octet_is_the_same(name: str) -> None:
    packer, unpacker = ends(name)
    words = packer.pack(b"one") + stored(packer, [b"two"]) + packer.pack(b"three") + packer.end()
    assert unpacked(unpacker, words, 1) == b"onetwothree"
    unpacker.check_end()


@BOTH
def test_empty_stream_is_a_stream(name: str) -> None:
    packer, unpacker = ends(name)
    words = packer.end()
    assert words
    assert unpacked(unpacker, words) == b""
    unpacker.check_end()


@BOTH
def test_nothing_to_store_is_nothing(name: str) -> None:
    packer, unpacker = ends(name)
    words = stored(packer, []) + stored(packer, [b""]) + packer.end()
    assert unpacked(unpacker, words) == b""
    unpacker.check_end()


@BOTH
def test_stream_that_is_cut_anywhere_is_no_end(name: str) -> None:
    packer = ends(name)[0]
    words = packer.pack(b"packed " * 9) + stored(packer, [b"stored"]) + packer.pack(b"packed") + packer.end()
    for size in range(len(words)):
        unpacker = ends(name)[1]
        unpacked(unpacker, words[:size])
        with pytest.raises(CodecError, match="cut off"):
            unpacker.check_end()


@BOTH
def test_stream_between_packed_and_stored_is_not_over(name: str) -> None:
    packer = ends(name)[0]
    for words in itertools.accumulate(
        (
            packer.pack(b"a" * 200_000),
            packer.flush(),
            stored(packer, [b"b"]),
            packer.pack(b"c"),
            packer.flush(),
        )
    ):
        unpacker = ends(name)[1]
        unpacked(unpacker, words)
        with pytest.raises(CodecError, match="cut off"):
            unpacker.check_end()


@BOTH
def test_bomb_unfolds_in_portions(name: str) -> None:
    packer, unpacker = ends(name)
    words = b"".join(packer.pack(bytes(1 << 20)) for _ in range(64)) + packer.end()
    assert len(words) < 1 << 17
    first = unpacker.unpack(words)
    assert len(first) <= MOST_DECODED
    total, calls = len(first), 1
    while unpacker.has_more():
        piece = unpacker.unpack(b"")
        assert len(piece) <= MOST_DECODED
        total += len(piece)
        calls += 1
    assert total == 64 << 20
    assert calls < 2 * (total // MOST_DECODED)
    unpacker.check_end()


@BOTH
def test_many_little_streams_in_a_row_are_unpacked_in_portions(name: str) -> None:
    words = subprocess.run([name, "-c"], input=b"x", capture_output=True, check=True, timeout=60).stdout
    unpacker = ends(name)[1]
    first = unpacker.unpack(words * 1000)
    assert 0 < len(first) <= 64
    found = first
    while unpacker.has_more():
        found += unpacker.unpack(b"")
    assert found == b"x" * 1000
    unpacker.check_end()


@BOTH
def test_more_may_arrive_while_there_is_more(name: str) -> None:
    packer, unpacker = ends(name)
    head = packer.pack(bytes(2_000_000)) + packer.flush()
    tail = packer.pack(b"end") + packer.end()
    found = unpacker.unpack(head)
    assert unpacker.has_more()
    found += unpacker.unpack(tail)
    while unpacker.has_more():
        found += unpacker.unpack(b"")
    assert found == bytes(2_000_000) + b"end"
    unpacker.check_end()


@BOTH
@pytest.mark.parametrize("words", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 30, bytes(30)])
def test_something_else_is_told(name: str, words: bytes) -> None:
    with pytest.raises(CodecError, match=f"the {name} stream is corrupt: "):
        unpacked(ends(name)[1], words)


@BOTH
def test_garbage_behind_a_stream_is_corrupt(name: str) -> None:
    packer, unpacker = ends(name)
    with pytest.raises(CodecError, match="corrupt"):
        unpacked(unpacker, packer.pack(b"x") + packer.end() + b"garbage, and much of it")


@BOTH
def test_flipped_bit_in_what_is_packed_is_found_at_the_end(name: str) -> None:
    """The checksum of the format finds what its decoder does not."""
    clear = json_lines(50)
    for at in range(12, 400, 7):
        packer, unpacker = ends(name)
        words = bytearray(packer.pack(clear) + packer.end())
        words[at] ^= 16
        try:
            found = unpacked(unpacker, bytes(words))
            unpacker.check_end()
        except CodecError:
            continue
        assert found == clear  # a bit that nobody reads


def test_base_classes_do_nothing() -> None:
    for call in (
        lambda: Packer().pack(b""),
        lambda: Packer().flush(),
        lambda: Packer().store([]),
        lambda: Packer().end(),
        lambda: Unpacker().unpack(b""),
        lambda: Unpacker().has_more(),
        lambda: Unpacker().check_end(),
    ):
        with pytest.raises(NotImplementedError):
            call()
