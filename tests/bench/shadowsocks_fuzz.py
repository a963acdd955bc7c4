"""A million bad inputs for Shadowsocks decoders: ``python -m tests.bench.shadowsocks_fuzz [COUNT] [SEED]``.

Raises for the first exception that is none of ours; prints what was said how often, the slowest input, and
how the memory has grown.
"""

import random
import re
import resource
import sys
import time
from collections import Counter

from tests.unit.codecs.shadowsocks import WITH_USERS
from tests.unit.codecs.shadowsocks_fuzz import play_packet, play_stream
from tunproxy.codecs.shadowsocks_keys import METHODS


def main(count: int, seed: int) -> None:
    """Play count inputs, half of them streams and half datagrams, over all methods."""
    each = [(method, 0) for method in METHODS] + [(method, 3) for method in WITH_USERS]
    said: Counter[str] = Counter()
    slowest = 0.0
    began = time.perf_counter()
    at_first = 0
    for number in range(count):
        method, users = each[number % len(each)]
        chance = random.Random(f"{seed} {number}")
        play = play_stream if number // len(each) % 2 else play_packet
        start = time.process_time()
        said[re.sub(r"\d+", "N", play(chance, method, users))] += 1
        slowest = max(slowest, time.process_time() - start)
        if number == count // 10:
            at_first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - at_first
    for words, times in said.most_common():
        print(f"{times:8} {words or 'taken'}")
    took = time.perf_counter() - began
    print(f"{count} inputs in {took:.0f} s, the slowest {slowest * 1e3:.1f} ms, {grown} kB more memory")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
