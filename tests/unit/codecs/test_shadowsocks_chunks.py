"""Chunks: numbered, sealed one by one, and cut out of whatever reads bring."""

import random

import pytest

from tunproxy.codecs.shadowsocks_chunks import LENGTH_LEN, NONCE_LEN, Inbox, Sealer, Unsealer, nonce, word
from tunproxy.codecs.shadowsocks_keys import TAG_LEN, ShadowsocksError, method_named

METHOD = method_named("aes-128-gcm")
KEY = bytes(16)


def test_nonces_count_in_little_endian() -> None:
    assert nonce(0) == bytes(12)
    assert nonce(0x010203) == b"\x03\x02\x01" + bytes(9)
    assert len(nonce(1 << 40)) == NONCE_LEN
    assert (word(0x3FFF), word(1)) == (b"\x3f\xff", b"\x00\x01")


@pytest.mark.parametrize("name", ["aes-128-gcm", "2022-blake3-aes-128-gcm"])
@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 65_535, 65_536, 200_000])
def test_chunks_are_as_large_as_the_format_allows(name: str, size: int) -> None:
    method = method_named(name)
    data = random.Random(size).randbytes(size)
    out: list[bytes | memoryview] = []
    Sealer(method, KEY).seal_chunks(b"in front" + data, 8, out)
    unsealer = Unsealer(method, KEY)
    clear = [unsealer.unseal(piece) for piece in out]
    assert b"".join(clear[1::2]) == data
    assert [int.from_bytes(length, "big") for length in clear[::2]] == [len(piece) for piece in clear[1::2]]
    assert len(out) == 2 * -(-size // method.most_per_chunk)
    assert all(len(piece) == LENGTH_LEN for piece in out[::2])


def test_chunk_out_of_its_place_is_refused() -> None:
    sealer = Sealer(METHOD, KEY)
    first, second = sealer.seal(b"first"), sealer.seal(b"second")
    assert len(first) == 5 + TAG_LEN
    with pytest.raises(ShadowsocksError, match="wrong password or method"):
        Unsealer(METHOD, KEY).unseal(second)
    unsealer = Unsealer(METHOD, KEY)
    assert unsealer.unseal(first) == b"first"
    with pytest.raises(ShadowsocksError, match="changed on its way"):
        unsealer.unseal(first)


@pytest.mark.parametrize("seed", range(20))
def test_inbox_gives_back_what_was_put_in_however_it_was_cut(seed: int) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(20_000)
    inbox, taken, at = Inbox(), b"", 0
    wanted = 1 + chance.randrange(500)
    while at < len(data):
        size = chance.choice([0, 1, 2, 100, 3000])
        inbox.put(data[at : at + size])
        at += size
        while inbox.has(wanted):
            piece = bytes(inbox.take(wanted))
            assert len(piece) == wanted
            taken += piece
            wanted = 1 + chance.randrange(chance.choice([5, 500, 5000]))
    assert data.startswith(taken)
    assert inbox.is_empty() == (len(taken) == len(data))
    left = len(data) - len(taken)
    assert left < wanted
    assert bytes(inbox.take(left)) == data[len(taken) :] if left else True


def test_inbox_of_single_octets_takes_no_time_that_grows_with_what_is_held() -> None:
    inbox = Inbox()
    for _ in range(65_535):
        inbox.put(b"x")
        assert not inbox.has(65_536)
    inbox.put(b"y")
    assert bytes(inbox.take(65_536)) == b"x" * 65_535 + b"y"
    assert inbox.is_empty()
