"""Streams that nobody sends: good ones, spoiled from a seed."""

import gzip
import random
from collections.abc import Iterator

from tests.unit.codecs.streams import encoded, json_lines, noise
from tunproxy.codecs.dictionary import Dictionary, train
from tunproxy.codecs.library import CompressionParameter, ZstdCompressor
from tunproxy.codecs.named import CodecSettings, make
from tunproxy.flow.codec import MOST_DECODED, Codec, CodecError

ENOUGH = 4 * MOST_DECODED  # octets of one stream: a bomb goes on and on

_RARE = [0, 1, 0x7F, 0x80, 0xFF]


def settings() -> CodecSettings:
    """Return settings with a dictionary."""
    return CodecSettings(dictionary=_dictionary())


def good_streams(name: str) -> list[bytes]:
    """Return streams of a format: packed, stored, mixed, empty, long, others'."""
    log = json_lines(12)
    parts = [[], [b"x"], [log], [noise(5000)], [log, noise(5000), log], [bytes(3_000_000)], [log[:40]] * 9]
    found = [encoded(make(name), each) for each in parts]
    if name == "gzip":
        return [*found, gzip.compress(log), gzip.compress(b"") * 5]
    with_it = settings()
    agreed = {"dict": str(with_it.dictionary.number)} if with_it.dictionary is not None else {}
    found += [encoded(make(name, agreed, with_it), each) for each in parts[1:4]]
    checked = ZstdCompressor(
        options={CompressionParameter.checksum_flag: 1, CompressionParameter.window_log: 22}
    )
    return [*found, checked.compress(log, ZstdCompressor.FLUSH_FRAME) * 2]


def spoiled(chance: random.Random, streams: list[bytes]) -> bytes:
    """Return one of streams, with a few things wrong."""
    words = bytearray(chance.choice(streams))
    if len(words) > 20_000:
        del words[20_000:]
    for _ in range(chance.choice([1, 1, 1, 2, 5, 30])):
        at = chance.randrange(min(len(words), 24) if chance.random() < 0.4 else len(words)) if words else 0
        what = chance.randrange(7)
        if what == 0 and words:
            words[at] ^= 1 << chance.randrange(8)
        elif what == 1 and words:
            words[at] = chance.choice(_RARE)
        elif what == 2 and words:
            words[at] = chance.randrange(256)
        elif what == 3:
            del words[at : at + chance.choice([1, 2, 4, 50])]
        elif what == 4:
            words[at:at] = chance.randbytes(chance.choice([1, 2, 4, 50]))
        elif what == 5:
            del words[at:]
        else:
            other = chance.choice(streams)
            words[at:] = other[: 1 + chance.randrange(200)]
    return bytes(words)


def fed(codec: Codec, words: bytes, chance: random.Random) -> str:
    """Have codec decode words; return what it says of them, or "". Raises for all that it must not do."""
    total = at = 0
    try:
        while at < len(words):
            size = chance.choice([1, 7, 300, 65_536])
            size = max(size, len(words) // 50)
            for clear in _portions(codec, words[at : at + size]):
                assert len(clear) <= MOST_DECODED
                total += len(clear)
                if total > ENOUGH:
                    return "enough"
            at += size
        codec.decode_end()
    except CodecError as error:
        return str(error)
    return ""


def _portions(codec: Codec, data: bytes) -> Iterator[bytes]:
    yield codec.decode(data)
    calls = 0
    while codec.has_more():
        calls += 1
        assert calls < 10_000, "there is always more"
        yield codec.decode(b"")


_trained: list[Dictionary] = []


def _dictionary() -> Dictionary:
    if not _trained:
        _trained.append(train([json_lines(3, seed) for seed in range(100)], 2048))
    return _trained[0]
