"""The direct plugin, through the hooks."""

import importlib

from tunproxy.flow.verdict import DIAL
from tunproxy.plugin.manager import Plugins


def test_direct_contributes_an_upstream_that_dials_the_target() -> None:
    plugins = Plugins()
    assert plugins.register(importlib.import_module("tunproxy_plugins.direct"), "direct")
    upstreams = plugins.upstreams()
    assert list(upstreams) == ["direct"]
    verdict = upstreams["direct"].constant()
    assert verdict is not None
    assert (verdict.kind, verdict.address, verdict.port) == (DIAL, "", 0)


def test_direct_has_no_say_in_decisions() -> None:
    plugins = Plugins()
    plugins.register(importlib.import_module("tunproxy_plugins.direct"), "direct")
    assert plugins.hooks("decide_flow") == []


def test_direct_is_found_by_its_entry_point() -> None:
    plugins = Plugins()
    plugins.load_installed()
    assert "direct" in plugins.names
    assert "direct" not in plugins.problems
