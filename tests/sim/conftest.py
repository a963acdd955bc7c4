"""How many seeds the simulator plays, and which one again."""

import pytest

pytest.register_assert_rewrite("tests.sim.apps", "tests.sim.timeline", "tests.sim.world")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sim", "simulator")
    group.addoption("--seeds", type=int, help="how many seeds to play (default: 200, compiled 10000)")
    group.addoption("--seed", type=int, help="play this seed only and print every packet")
    group.addoption("--fuzz-packets", type=int, help="mutated packets (default: 50000, compiled 600000)")
    group.addoption("--fuzz-seed", type=int, help="play this seed of mutated packets only")
    group.addoption("--conversation", help="replay this recorded conversation only and print every packet")
    group.addoption("--write-table", action="store_true", help="write the throughput table anew")
