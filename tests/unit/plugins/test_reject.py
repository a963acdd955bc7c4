"""The reject plugin, through the hooks."""

import importlib

import pytest

from tests.unit.plugins.worlds import flow
from tunproxy.flow.verdict import DROP, REJECT
from tunproxy.plugin.manager import Plugins


@pytest.mark.parametrize(("name", "kind"), [("reject", REJECT), ("drop", DROP)])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp"])
def test_reject_says_the_same_of_every_flow(name: str, kind: int, protocol: str) -> None:
    plugins = Plugins()
    assert plugins.register(importlib.import_module("tunproxy_plugins.reject"), "reject")
    upstream = plugins.upstreams()[name]
    info = flow("2001:db8::7", protocol=protocol)
    verdict = upstream.verdict_for(info, "rule 7")
    assert (verdict.kind, verdict.upstream, verdict.why) == (kind, name, "rule 7")
    assert upstream.carries(info)
    always = upstream.constant()
    assert always is not None
    assert always.kind == kind


def test_reject_has_no_say_in_decisions() -> None:
    plugins = Plugins()
    plugins.register(importlib.import_module("tunproxy_plugins.reject"), "reject")
    assert plugins.hooks("decide_flow") == []
