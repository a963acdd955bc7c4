"""The runner asks a plugin as the worker does, and forgives nothing."""

import gc
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.plugin.test_manager import contributing, plugin
from tunproxy.plugin.api import REJECT, DialUpstream, FlowInfo, Verdict
from tunproxy.testkit.flows import make_flow
from tunproxy.testkit.runner import PluginFault, PluginRunner
from tunproxy.testkit.script import Script

FLOW = make_flow("tcp", "10.0.0.2", "192.0.2.7:80")


def fails_always() -> object:
    raise RuntimeError("broken")


async def refuses(info: FlowInfo) -> Verdict:
    return Verdict(REJECT, "no")


def test_decide_asks_the_plugin_and_gives_it_upstreams() -> None:
    asked = plugin(decide_flow=lambda info, upstreams: upstreams["work"].verdict_for(info, "why"))
    with PluginRunner(asked, upstreams=[DialUpstream("work", "192.0.2.1", 1)]) as runner:
        verdict = runner.decide(FLOW)
        assert verdict is not None
        assert (verdict.upstream, verdict.why) == ("work", "why")
        assert list(runner.upstreams) == ["work"]


def test_decide_waits_for_coroutines() -> None:
    with PluginRunner(plugin(decide_flow=refuses)) as runner:
        verdict = runner.decide(FLOW)
        assert verdict is not None
        assert verdict.kind == REJECT
        datagram = runner.decide(make_flow("udp", "10.0.0.2", "192.0.2.7:80"))
        assert datagram is not None
        assert datagram.kind == REJECT
        assert runner.decide(make_flow("icmp", "10.0.0.2", "192.0.2.7")) is None


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda runner: runner.decide(FLOW), "RuntimeError: broken"),
        (lambda runner: runner.observe(FLOW), "RuntimeError: broken"),
        (lambda runner: runner.upstream_types(), "contribute_upstream_types failed: RuntimeError: broken"),
        (lambda runner: runner.resolve("x", "y"), "contribute_resolvers failed: RuntimeError: broken"),
        (lambda runner: runner.rule("X", "y"), "contribute_rule_kinds failed: RuntimeError: broken"),
        (lambda runner: runner.request("GET", ""), "contribute_routes failed: RuntimeError: broken"),
    ],
)
def test_fault_is_raised(act: Callable[[PluginRunner], object], why: str) -> None:
    names = ["decide_flow", "observe_flow"]
    names += [f"contribute_{what}" for what in ("upstream_types", "resolvers", "rule_kinds", "routes")]
    runner = PluginRunner(plugin(**dict.fromkeys(names, fails_always)))
    with runner, pytest.raises(PluginFault, match=why):
        act(runner)


def test_plugin_that_cannot_be_loaded_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(PluginFault, match="there is no hook 'decide'"):
        PluginRunner(plugin(decide=lambda: None))
    with pytest.raises(PluginFault, match="has no options, but 'x' is given"):
        PluginRunner(plugin(decide_flow=lambda: None), {"x": 1})
    (tmp_path / "p.py").write_text("import nowhere_to_be_found")
    with pytest.raises(ModuleNotFoundError):
        PluginRunner(tmp_path / "p.py")
    gc.collect()  # a loop that was left open would be told now


def test_open_dials_over_the_simulated_network() -> None:
    with PluginRunner(contributing("mine")) as runner:
        runner.network.serve("192.0.2.7:80", Script().sends(b"hello"))
        opened = runner.open(FLOW, "mine")
        assert runner.run(runner.loop.sock_recv(opened.sock, 100)) == b"hello"
        opened.sock.close()
        assert runner.network.dialled == ["192.0.2.7:80"]


def test_end_tells_what_a_script_objects_to_unless_something_else_failed() -> None:
    def talk(is_failing: bool) -> None:
        with PluginRunner(contributing("mine")) as runner:
            runner.network.serve("192.0.2.7:80", Script().expects(b"words"))
            runner.open(FLOW, "mine").sock.close()
            if is_failing:
                raise KeyError("first")

    with pytest.raises(AssertionError, match="expected b'words', and heard b''"):
        talk(is_failing=False)
    with pytest.raises(KeyError) as raised:
        talk(is_failing=True)
    assert "expected b'words'" in raised.value.__notes__[0]


def test_name_of_a_module_is_its_last_part() -> None:
    module = types.ModuleType("somewhere.mine")
    with PluginRunner(module) as runner:
        assert runner.name == "mine"
        assert runner.hooks == []
