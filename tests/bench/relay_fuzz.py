"""A million mutated inputs for the relay's parsers: ``python -m tests.bench.relay_fuzz [COUNT] [SEED]``.

Raises for the first exception that nobody has foreseen, where inputs take longer than SLOWEST, and where
memory grows. Prints how often each end was met.
"""

import random
import resource
import sys
import time
from collections import Counter

from tests.unit.relay.mutated import attack

BLOCK = 100  # inputs that are timed together
SLOWEST = 1.0  # seconds of the processor for BLOCK of them
GROWTH = 32 << 10  # KiB between a tenth and the end


def main(count: int, seed: int) -> None:
    """Try count inputs, of each protocol as many."""
    ends: Counter[str] = Counter()
    chance = random.Random(seed)
    slowest, at_first = 0.0, 0
    began = time.perf_counter()
    for done in range(0, count, BLOCK):
        number = chance.getrandbits(64)
        start = time.process_time()
        ends.update(attack(min(BLOCK, count - done), number))
        took = time.process_time() - start
        assert took < SLOWEST, f"seed {number} took {took:.2f} s"
        slowest = max(slowest, took)
        if done <= count // 10:
            at_first = _memory()
    grown = _memory() - at_first
    for end, times in ends.most_common():
        print(f"{times:8} {end}")
    took = time.perf_counter() - began
    slowest_ms = slowest * 1e3
    print(f"{count} inputs in {took:.0f} s, {BLOCK} at most in {slowest_ms:.1f} ms, {grown} kB more memory")
    assert grown < GROWTH


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
