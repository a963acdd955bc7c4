"""Mutated streams for every decoder of compression: no hang, no growth, no error but CodecError.

    python -m tests.bench.codecs_soak [--count 1000000] [--seed 1]

Prints what became of them, how long the slowest took, and how the process grew. Fails where anything else
than CodecError is raised, where one stream takes longer than a second, or where memory grows.
"""

import argparse
import random
import resource
import time
from collections import Counter

from tests.unit.codecs.mutations import fed, good_streams, settings, spoiled
from tunproxy.codecs.named import NAMES, make

SLOWEST = 1.0  # seconds for one stream: some unfold to a megabyte, and the machine may be busy
GROWTH = 64 << 10  # KiB between a tenth and the end


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="streams for each decoder")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name in NAMES:
        soak(name, options.count, options.seed)


def soak(name: str, count: int, seed: int) -> None:
    """Feed a decoder with count streams."""
    streams = good_streams(name)
    chance = random.Random(seed)
    ours = settings()
    results: Counter[str] = Counter()
    slowest, early = 0.0, 0
    began = time.process_time()
    for number in range(count):
        words = spoiled(chance, streams)
        at = time.process_time()
        parameters = (
            {"dict": str(ours.dictionary.number)} if ours.dictionary and chance.random() < 0.3 else {}
        )
        said = fed(make(name, parameters if name == "zstd" else {}, ours), words, chance)
        slowest = max(slowest, time.process_time() - at)
        results[said.split(" the dictionary ")[0]] += 1
        assert slowest < SLOWEST, f"{name}: stream {number} of seed {seed} took {slowest:.2f} s"
        if number == count // 10:
            early = _memory()
    grown = _memory() - early
    took = time.process_time() - began
    print(
        f"{name}: {count} streams in {took:.0f} s, the slowest {slowest * 1e3:.1f} ms, grown by {grown} KiB"
    )
    for said, how_many in results.most_common(12):
        print(f"  {how_many:8d}  {said or 'read to the end'}")
    assert grown < GROWTH


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
