"""What flows carry, for tests of codecs; and both ends of one."""

import json
import random
from collections.abc import Iterable

from tunproxy.flow.codec import MOST_DECODED, Codec


def json_lines(count: int, seed: int = 1) -> bytes:
    """Return a log of a web service: what users compress."""
    chance = random.Random(seed)
    lines = (
        {
            "ts": f"2026-11-21T17:{at // 3600 % 60:02d}:{at // 60 % 60:02d}.{chance.randrange(1000):03d}Z",
            "level": chance.choice(["INFO", "INFO", "WARN", "DEBUG"]),
            "service": chance.choice(["api", "auth", "billing"]),
            "host": f"web-{chance.randrange(40):02d}",
            "request_id": chance.randbytes(8).hex(),
            "method": chance.choice(["GET", "POST"]),
            "path": f"/v1/users/{chance.randrange(10_000)}/orders",
            "status": chance.choice([200, 200, 200, 404, 500]),
            "duration_ms": chance.randrange(900),
            "message": "request completed",
        }
        for at in range(count)
    )
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def noise(size: int, seed: int = 1) -> bytes:
    """Return octets that do not shrink."""
    return random.Random(seed).randbytes(size)


def pieces(data: bytes, size: int) -> list[bytes]:
    """Cut data."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def encoded(codec: Codec, parts: Iterable[bytes], *, flushes: bool = True) -> bytes:
    """Return a whole stream: parts, a pause after each of them, and the end."""
    words = b"".join(codec.encode(part) + (codec.flush() if flushes else b"") for part in parts)
    return words + codec.end()


def heard(codec: Codec, words: bytes, size: int = 1 << 16) -> bytes:
    """Return what words, which arrive in pieces, are in the clear, without their end."""
    found = bytearray()
    for piece in pieces(words, size):
        clear = codec.decode(piece)
        assert len(clear) <= MOST_DECODED
        found += clear
        while codec.has_more():
            clear = codec.decode(b"")
            assert len(clear) <= MOST_DECODED
            found += clear
    return bytes(found)


def decoded(codec: Codec, words: bytes, size: int = 1 << 16) -> bytes:
    """Return what a whole stream is in the clear."""
    return heard(codec, words, size) + codec.decode_end()
