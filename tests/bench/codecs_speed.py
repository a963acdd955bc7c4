"""What compression costs and brings: MB/s of octets in the clear, and the ratio.

    python -m tests.bench.codecs_speed [--megabytes 32]

Logs, noise and requests, in pieces as the packet path has them; "copied" is what a copy of them takes,
and so the least that anything can take.
"""

import argparse
import time
from collections.abc import Callable, Sequence

from tests.unit.codecs.streams import json_lines, noise, pieces
from tunproxy.codecs.named import CodecSettings, make
from tunproxy.flow.codec import Codec
from tunproxy.version import describe

ROUNDS = 3
READ = 1 << 16  # what arrives at once
TURN = 32  # small pieces between two flushes
REQUEST = b"GET /v1/things/%d HTTP/1.1\r\nHost: api.example\r\nAccept: application/json\r\n\r\n"

CODECS: dict[str, Callable[[], Codec]] = {
    "zstd -7": lambda: make("zstd", settings=CodecSettings(zstd_level=-7)),
    "zstd 1": lambda: make("zstd"),
    "zstd 3": lambda: make("zstd", settings=CodecSettings(zstd_level=3)),
    "gzip 1": lambda: make("gzip", settings=CodecSettings(gzip_level=1)),
    "gzip 6": lambda: make("gzip"),
}


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=32)
    size = parser.parse_args().megabytes << 20
    log, random = json_lines(20_000), noise(1 << 22)
    logs, randoms = log * (size // len(log) + 1), random * (size // len(random) + 1)
    print(describe())
    measure("log, 64 KiB", pieces(logs[:size], 1 << 16), 1)
    measure("log, 1400", pieces(logs[: size // 8], 1400), TURN)
    measure("noise, 64 KiB", pieces(randoms[:size], 1 << 16), 1)
    measure("noise, 1400", pieces(randoms[: size // 8], 1400), TURN)
    measure("requests", [REQUEST % number for number in range(size // 800)], 1)


def measure(what: str, parts: Sequence[bytes], pause: int) -> None:
    """Print what becomes of a stream in parts, flushed after so many of them each."""
    total = sum(map(len, parts))

    def copy() -> None:
        for part in parts:
            b"".join((part, b"x"))

    print(f"{what:14s} copied   {total / _fastest(copy) / 1e6:7.0f} MB/s")
    for name, new in CODECS.items():
        words: list[bytes] = []

        def encode(new: Callable[[], Codec] = new, words: list[bytes] = words) -> None:
            words.clear()
            codec = new()
            for count, part in enumerate(parts, 1):
                words.append(codec.encode(part))
                if count % pause == 0:
                    words.append(codec.flush())
            words.append(codec.end())

        packing = _fastest(encode)
        arriving = pieces(b"".join(words), READ)

        def decode(new: Callable[[], Codec] = new, arriving: Sequence[bytes] = arriving) -> None:
            codec = new()
            count = 0
            for piece in arriving:
                count += len(codec.decode(piece))
                while codec.has_more():
                    count += len(codec.decode(b""))
            codec.decode_end()
            assert count == total

        print(
            f"{what:14s} {name:8s} {total / packing / 1e6:7.0f} MB/s, "
            f"back {total / _fastest(decode) / 1e6:7.0f} MB/s, {total / sum(map(len, words)):6.3f} : 1"
        )


def _fastest(what: Callable[[], None]) -> float:
    """Return how many seconds the fastest of some rounds took."""
    best = 1e9
    for _ in range(ROUNDS):
        began = time.perf_counter()
        what()
        best = min(best, time.perf_counter() - began)
    return best


if __name__ == "__main__":
    main()
