"""Measure the Shadowsocks codecs alone: ``python tests/bench/shadowsocks_codec.py [SECONDS]``.

For each method: what one stream costs in the portions that the packet path hands over, what a new one costs,
and for comparison what the cipher alone takes for the same chunks.
"""

import os
import sys
import time
from base64 import b64encode
from collections.abc import Callable

from tunproxy.codecs.shadowsocks_address import emit_address
from tunproxy.codecs.shadowsocks_keys import METHODS, client_keys, method_named, server_keys
from tunproxy.codecs.shadowsocks_packet import PacketClient
from tunproxy.codecs.shadowsocks_packet_server import PacketServer
from tunproxy.codecs.shadowsocks_replay import SaltMemory
from tunproxy.codecs.shadowsocks_server import ShadowsocksServer
from tunproxy.codecs.shadowsocks_stream import ShadowsocksClient

ENCODED, READ = 1 << 17, 1 << 16  # octets that the packet path encodes, and reads, at once
ADDRESS = emit_address(bytes((192, 0, 2, 7)), 443)


def once(work: Callable[[], object], seconds: float) -> float:
    """Return how many seconds one call takes, the best of several rounds."""
    best = 1e9
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        for _ in range(20):
            work()
        best = min(best, (time.perf_counter() - began) / 20)
    return best


def measure(name: str, seconds: float) -> str:
    """Return a line of the table."""
    method = method_named(name)
    password = b64encode(os.urandom(method.key_len)).decode() if method.is_2022 else "password"
    keys, theirs = client_keys(name, password), server_keys(name, password)
    data = os.urandom(ENCODED)

    aead = method.aead(keys.key)
    chunk = data[: method.most_per_chunk]
    chunks = -(-ENCODED // method.most_per_chunk)
    bare = chunks * (once(lambda: aead.encrypt(bytes(12), chunk, None), seconds)
                     + once(lambda: aead.encrypt(bytes(12), b"ab", None), seconds))  # fmt: skip

    client = ShadowsocksClient(keys, ADDRESS)
    server = ShadowsocksServer(theirs, SaltMemory(method.is_2022))
    server.decode(client.flush())
    encoding = once(
        lambda: client.encode_pieces([data[: ENCODED // 2], memoryview(data)[ENCODED // 2 :]]), seconds
    )

    sealed = server.encode(data * 200)
    reads = [sealed[at : at + READ] for at in range(0, len(sealed), READ)]
    decoding = 1e9
    for at in range(0, len(reads) - 20, 20):  # a round, as above
        began = time.perf_counter()
        for read in reads[at : at + 20]:
            client.decode(read)
        decoding = min(decoding, (time.perf_counter() - began) / 20)

    def begin() -> None:
        made = ShadowsocksServer(theirs, SaltMemory(method.is_2022))
        made.decode(ShadowsocksClient(keys, ADDRESS).encode(b"hello"))

    packets, others = PacketClient(keys), PacketServer(theirs)
    packet = once(lambda: packets.seal(ADDRESS, data[:1200]), seconds)
    opening = once(lambda: others.open(packets.seal(ADDRESS, data[:1200])), seconds) - packet
    return (
        f"{name:30} encode {8 * ENCODED / encoding / 1e9:5.2f} Gbit/s  "
        f"decode {8 * READ / decoding / 1e9:5.2f}  cipher {8 * ENCODED / bare / 1e9:5.2f}  "
        f"stream, both ends {once(begin, seconds) * 1e6:4.0f} us  "
        f"datagram seal {packet * 1e6:4.1f} us, open {opening * 1e6:4.1f}"
    )


if __name__ == "__main__":
    for each in METHODS:
        print(measure(each, float(sys.argv[1]) if len(sys.argv) > 1 else 0.5), flush=True)
