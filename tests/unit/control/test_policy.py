"""Plugins and default become the decider of the packet path."""

import types
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.control.policies import built, written
from tunproxy.control.config.sources import read_sources
from tunproxy.control.policy import (
    Policy,
    build_policy,
    built_in_sources,
    fake_for,
    load_plugins,
    may_answer_names,
)
from tunproxy.control.settings import PolicyOptions
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


def policy_of(plugins: Plugins, default: str = "") -> Policy:
    """Return the policy of plugins where nobody has written a configuration."""
    return build_policy(built_in_sources(default), plugins)


def test_policy_nobody_decides_costs_flows_nothing() -> None:
    decider = policy_of(plugins(direct=contributing("direct"))).decider
    assert isinstance(decider, StaticDecider)
    verdict = decider.decide(flow(80))
    assert (verdict.kind, verdict.upstream, verdict.address) == (DIAL, "direct", "")


def test_policy_plugin_decides_and_default_takes_the_rest() -> None:
    def decide_flow(info: FlowInfo) -> Verdict | None:
        return Verdict(REJECT, "no-http") if info.target_port == 80 else None

    decider = policy_of(plugins(direct=contributing("direct"), picky={"decide_flow": decide_flow})).decider
    assert decider.decide(flow(80)).kind == REJECT
    assert decider.decide(flow(443)).upstream == "direct"


def test_policy_default_is_what_was_asked_for() -> None:
    decider = policy_of(plugins(two=contributing("direct", "other")), default="other").decider
    assert decider.decide(flow(80)).upstream == "other"


def test_policy_default_missing_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"no upstream 'direct': .* \(installed: other"):
        policy_of(plugins(other=contributing("other")))


def test_policy_default_plugin_broken_says_why() -> None:
    def contribute_upstreams() -> None:
        raise RuntimeError("out of order")

    with pytest.raises(ConfigError, match="plugin direct contribute_upstreams failed: RuntimeError: out of"):
        policy_of(plugins(direct={"contribute_upstreams": contribute_upstreams}))


def test_policy_without_a_configuration_has_the_installed_plugins() -> None:
    verdict = policy_of(load_plugins(built_in_sources())).decider.decide(flow(80))
    assert (verdict.kind, verdict.upstream) == (DIAL, "direct")


def test_policy_tells_which_plugins_failed_to_decide() -> None:
    def decide_flow(info: FlowInfo) -> Verdict | None:
        raise RuntimeError("out of order")

    policy = policy_of(plugins(direct=contributing("direct"), picky={"decide_flow": decide_flow}))
    assert policy.plugins.ledger.faults() == {}
    assert policy.decider.decide(flow(80)).upstream == "direct"
    assert policy.plugins.ledger.faults() == {"picky": 1}


@pytest.mark.parametrize(
    ("config", "rules", "may"),
    [
        (None, "", False),
        ("", "", True),
        ('[dns]\nmode = "off"\n', "", False),
        (None, "IP-CIDR,10.0.0.0/8,DIRECT\nDST-PORT,22,REJECT\n", False),
        (None, "DST-PORT,22,REJECT\nDOMAIN,a.example,REJECT\n", True),
        (None, "AND,((DST-PORT,22),(NOT,((DOMAIN,a.example)))),REJECT\n", True),
        (None, "KIND-OF-A-PLUGIN,x,REJECT\n", True),
    ],
)
def test_names_may_be_answered(tmp_path: Path, config: str | None, rules: str, may: bool) -> None:
    options = {"config": str(written(tmp_path, config))} if config is not None else {}
    if rules:
        (tmp_path / "home.rules").write_text(rules)
        options["rules"] = str(tmp_path / "home.rules")
    assert may_answer_names(read_sources(PolicyOptions(**options), {})) == may


def test_names_that_rules_send_somewhere_get_fake_addresses(tmp_path: Path) -> None:
    text = (
        'rules = ["DOMAIN-SUFFIX,a.example,work", "IP-CIDR,192.0.2.0/24,work", "DOMAIN,b.example,work"]\n'
        '[upstreams.work]\ntype = "socks5"\nserver = "192.0.2.1"\nport = 1080\n'
    )
    parts = built(written(tmp_path, text))
    assert fake_for((), parts) is None
    wants = fake_for(("work",), parts)
    assert wants is not None
    assert wants("x.a.example")
    assert not wants("b.example")  # its address may decide
    direct = fake_for((parts.default,), built(written(tmp_path, "")))
    assert direct is not None
    assert direct("any.example")
