"""Finding plugins, and leaving out those that do not work."""

import logging
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.unit.plugin.distribution import distribution
from tunproxy.plugin.api import DialUpstream, FlowInfo, Upstream, Verdict, hookimpl
from tunproxy.plugin.manager import Plugins


def plugin(**hooks: Callable[..., object]) -> types.SimpleNamespace:
    """Return a plugin object with these functions marked as hooks."""
    return types.SimpleNamespace(**{name: hookimpl(function) for name, function in hooks.items()})


def contributing(*names: str) -> types.SimpleNamespace:
    return plugin(contribute_upstreams=lambda: [DialUpstream(name) for name in names])


def test_register_plugin_with_hooks_keeps_it() -> None:
    plugins = Plugins()
    assert plugins.register(contributing("a"), "first")
    assert plugins.names == ["first"]
    assert list(plugins.upstreams()) == ["a"]


def misspelt() -> object:
    return plugin(decide_flwo=lambda info: None)


def wants_too_much() -> object:
    return plugin(decide_flow=lambda info, weather: None)


def wraps() -> object:
    @hookimpl(wrapper=True)
    def decide_flow(info: FlowInfo) -> Iterator[None]:
        return (yield)

    return types.SimpleNamespace(decide_flow=decide_flow)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (misspelt, "decide_flwo"),
        (wants_too_much, "weather"),
        (wraps, "decide_flow is a wrapper"),
    ],
)
def test_register_bad_plugin_reports_it_and_leaves_it_out(
    bad: Callable[[], object], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    plugins = Plugins()
    plugins.register(contributing("a"), "good")
    assert not plugins.register(bad(), "bad")
    assert why in plugins.problems["bad"]
    assert "plugin bad" in caplog.text
    assert plugins.names == ["good"]
    assert plugins.hooks("decide_flow") == []
    assert plugins.register(contributing("b"), "later"), "one bad plugin does not spoil those after it"
    assert list(plugins.upstreams()) == ["a", "b"]


def test_register_second_plugin_of_a_name_keeps_the_first() -> None:
    plugins = Plugins()
    plugins.register(contributing("a"), "same")
    assert not plugins.register(contributing("b"), "same")
    assert list(plugins.upstreams()) == ["a"]


def answer(value: object) -> object:
    return plugin(contribute_upstreams=lambda: value)


def raising() -> Iterable[Upstream]:
    yield DialUpstream("half")
    raise RuntimeError("half-way")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (answer(7), "7 is no list of upstreams"),
        (answer([object()]), "is no upstream with a name"),
        (answer([DialUpstream("")]), "is no upstream with a name"),
        (answer(["direct"]), "'direct' is no upstream with a name"),
        (plugin(contribute_upstreams=lambda: sys.exit("bye")), "SystemExit: bye"),
        (plugin(contribute_upstreams=raising), "RuntimeError: half-way"),
        (contributing("a"), "there is an upstream 'a' already"),
    ],
)
def test_upstreams_of_a_bad_plugin_are_reported_and_left_out(bad: object, why: str) -> None:
    plugins = Plugins()
    plugins.register(contributing("a"), "good")
    assert plugins.register(bad, "bad")
    found = plugins.upstreams()
    assert why in plugins.problems["bad"]
    assert set(found) - {"half"} == {"a"}


def test_upstreams_none_is_nothing() -> None:
    plugins = Plugins()
    plugins.register(answer(None), "idle")
    assert plugins.upstreams() == {}
    assert plugins.problems == {}


def test_hooks_come_in_the_order_of_pluggys_calls() -> None:
    def late(info: FlowInfo) -> Verdict | None:
        return None

    plugins = Plugins()
    first = types.SimpleNamespace(decide_flow=hookimpl(tryfirst=True)(lambda: None))
    plugins.register(first, "tryfirst")
    plugins.register(types.SimpleNamespace(decide_flow=hookimpl(trylast=True)(late)), "trylast")
    plugins.register(plugin(decide_flow=lambda upstreams: None), "earlier")
    plugins.register(plugin(decide_flow=lambda upstreams, info: None), "later")
    hooks = plugins.hooks("decide_flow")
    assert [hook.plugin for hook in hooks] == ["tryfirst", "later", "earlier", "trylast"]
    assert [hook.arguments for hook in hooks] == [(), ("upstreams", "info"), ("upstreams",), ("info",)]


def test_hook_gets_the_arguments_it_wants() -> None:
    plugins = Plugins()
    plugins.register(plugin(decide_flow=lambda upstreams, info: (info, upstreams)), "both")
    (hook,) = plugins.hooks("decide_flow")
    assert hook({"info": "i", "upstreams": "u"}) == ("i", "u")


GOOD = """
from tunproxy.plugin.api import DialUpstream, hookimpl

@hookimpl
def contribute_upstreams():
    return [DialUpstream("found")]
"""


def test_load_installed_reports_what_cannot_be_imported_and_loads_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    group = "tunproxy_test_group"
    distribution(
        tmp_path, group, bad="import nonexistent_module", exits="raise SystemExit(1)", good=GOOD, odd="x = ("
    )
    monkeypatch.syspath_prepend(tmp_path)
    plugins = Plugins()
    with caplog.at_level(logging.ERROR):
        plugins.load_installed(group)
        plugins.load_installed(group)  # found twice, loaded once
    assert plugins.names == ["good"]
    assert list(plugins.upstreams()) == ["found"]
    assert set(plugins.problems) == {"bad", "exits", "odd"}
    assert "plugin bad cannot be imported: ModuleNotFoundError" in caplog.text
