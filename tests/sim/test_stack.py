"""Packets that nobody honest sends, at the whole packet path: nothing raises, nothing leaks, nothing sticks.

``pytest tests/sim/test_stack.py --fuzz-seed N`` plays one run again. ``--fuzz-packets 10000000``, or
TUNPROXY_FUZZ_PACKETS, says how many packets there are in all.
"""

import itertools
import os
import re
import traceback
from pathlib import Path

import pytest

from tests.sim import corpus
from tests.sim.stack import SECOND, VERIFIED, Stack
from tests.sim.timeline import replay_line
from tunproxy import version
from tunproxy.wire.vnet import PLAIN

RUN = 2_000  # packets of one seed
BLOCK = 25  # seeds of one test
PACKETS = 600_000 if version.is_compiled() else 50_000
MEMORY_BOUND = 32 << 20  # octets by which a block may grow this process


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "block" not in metafunc.fixturenames:
        return
    config = metafunc.config
    seed = config.getoption("--fuzz-seed", default=None)
    asked = config.getoption("--fuzz-packets", default=None) or os.environ.get("TUNPROXY_FUZZ_PACKETS")
    count = -(-int(asked or PACKETS) // RUN)
    blocks = [range(at, min(at + BLOCK, count)) for at in range(0, count, BLOCK)]
    if seed is not None:
        blocks = [range(seed, seed + 1)]
    metafunc.parametrize("block", blocks, ids=[f"{block.start}-{block.stop - 1}" for block in blocks])


@pytest.mark.timeout(600)
def test_stack_survives_every_packet(block: range) -> None:
    play(block.start)  # what is kept for good is there from now on
    before = resident()
    for seed in block:
        play(seed)
    grown = resident() - before
    assert grown < MEMORY_BOUND, f"{grown >> 10} kB more than before"


def play(seed: int) -> Stack:
    """Play one seed; a failure tells how to play it again, and the last packets."""
    stack = Stack(seed)
    try:
        stack.play(RUN)
    except Exception as error:
        last = "\n".join(frame[:200].hex() for frame in stack.log[-8:])
        raise AssertionError(
            f"seed {seed} at {stack.now / SECOND:.6f} s: {error!r}\n"
            f"{replay_line('tests/sim/test_stack.py', f'--fuzz-seed {seed}')}\n"
            f"the last packets:\n{last}\n{traceback.format_exc()}"
        ) from None
    finally:
        stack.close()
    return stack


def resident() -> int:
    """Return the octets of memory that this process holds."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    assert found is not None
    return 1024 * int(found[1])


@pytest.mark.parametrize("name", corpus.TEXTS)
def test_known_packet_is_dropped_or_answered(name: str) -> None:
    """Alone, again, and with its sums looked at."""
    packet = corpus.packets()[name]
    stack = Stack(1)
    try:
        for head in (VERIFIED, VERIFIED, PLAIN):
            stack.give(head + packet)
        stack.play(0)
    finally:
        stack.close()


def test_known_packets_are_harmless_in_any_order() -> None:
    stack = Stack(2)
    try:
        for first, second in itertools.permutations(corpus.packets().values(), 2):
            stack.give(VERIFIED + first)
            stack.give(VERIFIED + second)
        stack.play(0)
    finally:
        stack.close()


def test_fuzzer_reaches_what_it_is_meant_to_reach() -> None:
    """A fuzzer whose packets are all dropped at the door proves nothing."""
    stacks = [play(seed) for seed in range(10)]
    found: dict[str, int] = {}
    for stack in stacks:
        for name, count in stack.counters.snapshot().items():
            found[name] = found.get(name, 0) + count
    assert found["flows_opened"] > 100
    assert found["flows_refused"] > 5
    assert sum(stack.client.count for stack in stacks) > 1000
    assert sum(stack.outside.made for stack in stacks) > 500
    reasons = {name for name in found if name.startswith("drop_")}
    assert len(reasons) > 18, reasons
