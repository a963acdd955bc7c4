"""Plugins and default become the decider of the packet path."""

import types
from collections.abc import Callable

import pytest

from tunproxy.control.policy import load_decider
from tunproxy.errors import ConfigError
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.verdict import DIAL, REJECT, FlowInfo, Verdict
from tunproxy.plugin.api import DialUpstream, hookimpl
from tunproxy.plugin.manager import Plugins


def flow(port: int) -> FlowInfo:
    return FlowInfo("tcp", bytes(4), 1, bytes(4), port)


def plugins(**modules: dict[str, Callable[..., object]]) -> Plugins:
    """Return plugins with these hooks, none of them from entry points."""
    found = Plugins()
    for name, hooks in modules.items():
        marked = {hook: hookimpl(function) for hook, function in hooks.items()}
        found.register(types.SimpleNamespace(**marked), name)
    return found


def contributing(*names: str) -> dict[str, Callable[..., object]]:
    return {"contribute_upstreams": lambda: [DialUpstream(name) for name in names]}


def test_load_decider_nobody_decides_costs_flows_nothing() -> None:
    decider = load_decider(plugins(direct=contributing("direct")))
    assert isinstance(decider, StaticDecider)
    verdict = decider.decide(flow(80))
    assert (verdict.kind, verdict.upstream, verdict.address) == (DIAL, "direct", "")


def test_load_decider_plugin_decides_and_default_takes_the_rest() -> None:
    def decide_flow(info: FlowInfo) -> Verdict | None:
        return Verdict(REJECT, "no-http") if info.target_port == 80 else None

    decider = load_decider(plugins(direct=contributing("direct"), picky={"decide_flow": decide_flow}))
    assert decider.decide(flow(80)).kind == REJECT
    assert decider.decide(flow(443)).upstream == "direct"


def test_load_decider_default_is_what_was_asked_for() -> None:
    decider = load_decider(plugins(two=contributing("direct", "other")), default="other")
    assert decider.decide(flow(80)).upstream == "other"


def test_load_decider_default_missing_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"no upstream 'direct': .* \(installed: other"):
        load_decider(plugins(other=contributing("other")))


def test_load_decider_default_plugin_broken_says_why() -> None:
    def contribute_upstreams() -> None:
        raise RuntimeError("out of order")

    with pytest.raises(ConfigError, match="plugin direct contribute_upstreams failed: RuntimeError: out of"):
        load_decider(plugins(direct={"contribute_upstreams": contribute_upstreams}))


def test_load_decider_without_plugins_loads_the_installed_ones() -> None:
    verdict = load_decider().decide(flow(80))
    assert (verdict.kind, verdict.upstream) == (DIAL, "direct")
