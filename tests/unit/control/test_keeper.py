"""The worker's policy: exchanged as a whole, or not at all."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.unit.control.policies import plugins_for, sources_of, written
from tests.unit.waiting import until
from tunproxy.control import keeper as module
from tunproxy.control.config.sources import into_memory
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.policy import Policy
from tunproxy.errors import ConfigError
from tunproxy.flow.verdict import FlowInfo


@pytest.fixture(autouse=True)
def tree_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_plugins", plugins_for)


def goes_to(keeper: PolicyKeeper, host: str) -> str:
    return keeper.decider.decide(FlowInfo("tcp", bytes(4), 1, bytes([1, 2, 3, 4]), 80, host)).upstream


async def settled(keeper: PolicyKeeper) -> None:
    await until(lambda: not keeper.state()["is_building"])


def reloaded(keeper: PolicyKeeper, path: Path) -> None:
    async def reload() -> None:
        assert keeper.reload(into_memory(sources_of(path)), asyncio.get_running_loop())["is_accepted"]
        await settled(keeper)

    asyncio.run(reload())


def test_reload_puts_a_new_policy_in_force(tmp_path: Path) -> None:
    path = written(tmp_path, 'rules = ["DOMAIN,a.example,REJECT"]\n')
    adopted: list[Policy] = []
    keeper = PolicyKeeper(sources_of(path))
    keeper.adopted = adopted.append
    assert (goes_to(keeper, "a.example"), goes_to(keeper, "b.example")) == ("reject", "direct")
    assert adopted == []
    interval = sys.getswitchinterval()
    reloaded(keeper, written(tmp_path, 'rules = ["DOMAIN,b.example,REJECT-DROP"]\n'))
    assert (goes_to(keeper, "a.example"), goes_to(keeper, "b.example")) == ("direct", "drop")
    assert (keeper.policy.generation, adopted) == (2, [keeper.policy])
    assert sys.getswitchinterval() == interval


def test_reload_that_fails_leaves_the_old_policy(tmp_path: Path) -> None:
    path = written(tmp_path, 'rules = ["DOMAIN,a.example,REJECT"]\n')
    keeper = PolicyKeeper(sources_of(path))
    reloaded(keeper, written(tmp_path, 'rules = ["DOMAIN,a.example,REJCT"]\n'))
    state = keeper.state()
    assert (goes_to(keeper, "a.example"), state["generation"]) == ("reject", 1)
    assert "unknown target 'REJCT' (did you mean 'REJECT'?)" in str(state["error"])
    reloaded(keeper, written(tmp_path, ""))
    assert (keeper.state()["error"], keeper.state()["generation"]) == ("", 2)


def test_long_error_is_cut_at_the_end_of_a_line(tmp_path: Path) -> None:
    keeper = PolicyKeeper(sources_of(written(tmp_path, "")))
    rules = ",\n".join(f'"DOMAIN,{"x" * number}.example,REJCT"' for number in range(1, 60))
    reloaded(keeper, written(tmp_path, f"rules = [\n{rules}\n]\n"))
    lines = str(keeper.state()["error"]).split("\n")
    assert lines[-1] == "…"
    assert lines[-2].strip() in ("^", "") or lines[-2].endswith((",", "(did you mean 'REJECT'?)"))
    assert len("\n".join(lines)) <= module.MAX_TEXT + 2


def test_fault_while_building_leaves_the_old_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "")
    keeper = PolicyKeeper(sources_of(path))

    def fail(*arguments: object, **options: object) -> Policy:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(module, "build_policy", fail)
    reloaded(keeper, path)
    assert keeper.state()["error"] == "cannot build a policy: ZeroDivisionError: a bug"
    assert goes_to(keeper, "a") == "direct"


def test_plugins_stay_the_same_unless_what_is_said_of_them_changes(tmp_path: Path) -> None:
    keeper = PolicyKeeper(sources_of(written(tmp_path, "[plugins.x]\na = 1\n")))
    before = keeper.policy.plugins
    reloaded(keeper, written(tmp_path, "default = 'REJECT'\n[plugins.x]\na = 1\n"))
    assert keeper.policy.plugins is before
    reloaded(keeper, written(tmp_path, "[plugins.x]\na = 2\n"))
    assert keeper.policy.plugins is not before


def test_second_reload_while_one_is_built_is_not_accepted(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    keeper = PolicyKeeper(sources_of(path))

    async def both() -> None:
        loop = asyncio.get_running_loop()
        assert keeper.reload(into_memory(sources_of(path)), loop)["is_accepted"] is True
        assert keeper.reload(into_memory(sources_of(path)), loop)["is_accepted"] is False
        await settled(keeper)

    asyncio.run(both())
    assert keeper.policy.generation == 2


def test_first_policy_that_cannot_be_built_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown target 'x'"):
        PolicyKeeper(sources_of(written(tmp_path, 'rules = ["MATCH,x"]\n')))
