"""Thousands of conversations over bad paths; whatever the path does, what must hold holds.

``pytest tests/sim/test_seeds.py --seed N`` plays one of them again and prints every packet; what fails says
so, with the mode it failed in. ``--seeds N`` says how many there are. All processors take part.
"""

import multiprocessing
import os

import pytest

from tests.sim.scenarios import from_seed
from tests.sim.world import Broken, run
from tunproxy import version
from tunproxy.tcp.connection import CLOSE_NAMES, FINISHED

BLOCK = 500
SEEDS = 10_000 if version.is_compiled() else 200  # some 10 ms each, uncompiled 45


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "block" not in metafunc.fixturenames:
        return
    config = metafunc.config
    seed = config.getoption("--seed", default=None)
    count = config.getoption("--seeds", default=None) or SEEDS
    blocks = [range(at, min(at + BLOCK, count)) for at in range(0, count, BLOCK)]
    if seed is not None:
        blocks = [range(seed, seed + 1)]
    metafunc.parametrize("block", blocks, ids=[f"{block.start}-{block.stop - 1}" for block in blocks])


@pytest.mark.timeout(600)
def test_seeds_keep_every_promise(block: range, pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--seed", default=None) is not None:
        log: list[str] = []
        told = what_broke(block.start, log)
        print(from_seed(block.start), *log, sep="\n")
        assert not told, told
        return
    with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
        failed = [told for told in pool.imap(what_broke, block, chunksize=10) if told]
    mode = pytestconfig.getoption("mode")
    assert not failed, f"{len(failed)} of {len(block)} with --mode {mode}\n" + "\n\n".join(failed[:3])


def what_broke(seed: int, log: list[str] | None = None) -> str:
    """Play a seed; return how to play it again and what was wrong, "" if nothing was."""
    try:
        run(from_seed(seed), log=log)
    except Broken as broken:
        return str(broken)
    return ""


def test_same_seed_gives_the_same_packets_at_the_same_times() -> None:
    for seed in range(20):
        assert run(from_seed(seed)).trace == run(from_seed(seed)).trace


def test_seeds_see_what_they_are_meant_to_see() -> None:
    """A simulator in which nothing goes wrong proves nothing."""
    outcomes = [run(from_seed(seed)) for seed in range(100)]
    assert sum(outcome.lost for outcome in outcomes) > 200
    assert sum(outcome.corrupted for outcome in outcomes) > 10
    assert sum(outcome.marked for outcome in outcomes) > 200
    assert sum(outcome.echoed for outcome in outcomes) > 500
    assert sum(outcome.reductions for outcome in outcomes) > 30
    assert sum(sum(outcome.retransmits) for outcome in outcomes) > 200
    assert sum(outcome.why == [CLOSE_NAMES[FINISHED]] * 2 for outcome in outcomes) > 50
    assert len({move for outcome in outcomes for move in outcome.moves}) > 12
