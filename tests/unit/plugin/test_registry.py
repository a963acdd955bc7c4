"""Finding plugins, and leaving out those that do not work."""

import logging
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.plugin.distribution import distribution
from tests.unit.plugin.test_manager import contributing, plugin
from tunproxy.plugin.api import FlowInfo, Verdict, hookimpl
from tunproxy.plugin.discovery import Found
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.registry import MAX_COMPLAINTS
from tunproxy.plugin.settings import PluginEntry, PluginSettings


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


def test_register_misspelt_hook_suggests_the_right_one() -> None:
    plugins = Plugins()
    assert not plugins.register(misspelt(), "bad")
    assert "did you mean 'decide_flow'?" in plugins.problems["bad"]


def test_hooks_priority_of_the_user_comes_before_pluggys_order() -> None:
    settings = PluginSettings(plugins={"low": PluginEntry(priority=-1), "high": PluginEntry(priority=5)})
    plugins = Plugins(settings)
    for name in ("low", "high", "early", "late"):
        assert plugins.register(plugin(decide_flow=lambda: None), name)
    first = types.SimpleNamespace(decide_flow=hookimpl(tryfirst=True)(lambda: None))
    assert plugins.register(first, "tryfirst")
    assert [hook.plugin for hook in plugins.hooks("decide_flow")] == [
        "high", "tryfirst", "late", "early", "low",
    ]  # fmt: skip


@dataclass(frozen=True)
class Options:
    size: int = 3


def optional(schema: object, **hooks: Callable[..., object]) -> types.SimpleNamespace:
    return plugin(contribute_options=lambda: schema, **hooks)


def test_hooks_get_the_options_that_the_user_gave() -> None:
    settings = PluginSettings(plugins={"a": PluginEntry(options={"size": 7})})
    plugins = Plugins(settings)
    asks = {"decide_flow": lambda options: options}
    for name in ("a", "b"):
        assert plugins.register(optional(Options, **asks), name)
    assert plugins.register(plugin(**asks), "none")
    assert [hook({}) for hook in plugins.hooks("decide_flow")] == [None, Options(3), Options(7)]
    assert plugins.problems == {}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (optional(Options), "cannot be configured: no option 'siez' (did you mean 'size'?)"),
        (optional(None), "cannot be configured: has no options, but 'siez' is given"),
        (optional(7), "cannot be registered: 7 is no dataclass of options"),
    ],
)
def test_register_plugin_whose_options_do_not_fit_leaves_it_out(bad: object, why: str) -> None:
    plugins = Plugins(PluginSettings(plugins={"bad": PluginEntry(options={"siez": 7})}))
    assert not plugins.register(bad, "bad")
    assert plugins.problems == {"bad": why}
    assert plugins.names == []
    assert plugins.hooks("contribute_options") == []
    wrong = {"bad": ("siez",)} if "cannot be configured" in why else {}
    assert plugins.wrong_options == wrong


@pytest.mark.parametrize("error", [RuntimeError("broken"), ValueError("broken"), SystemExit("broken")])
def test_register_plugin_that_cannot_say_its_options_names_hook_and_line(error: BaseException) -> None:
    def raises() -> object:
        raise error

    plugins = Plugins()
    assert not plugins.register(plugin(contribute_options=raises), "bad")
    place = f"test_registry.py:{raises.__code__.co_firstlineno + 1}"
    why = f"contribute_options failed: {type(error).__name__}: broken ({place})"
    assert plugins.problems == {"bad": why}
    assert plugins.names == []


def test_complaints_are_all_that_is_wrong_with_a_plugin_each_once() -> None:
    plugins = Plugins()
    bad = plugin(contribute_upstreams=lambda: 5, contribute_codecs=lambda: 6, contribute_routes=lambda: 7)
    assert plugins.register(bad, "bad")
    for _ in range(3):
        plugins.rehearse()
        plugins.routes()
    assert [why.split()[0] for why in plugins.complaints("bad")] == [
        "contribute_upstreams", "contribute_codecs", "contribute_routes",
    ]  # fmt: skip
    assert plugins.problems == {"bad": plugins.complaints("bad")[-1]}
    assert plugins.complaints("good") == []
    for number in range(100):
        plugins.complain("bad", f"is wrong in way {number}")
    assert len(plugins.complaints("bad")) == MAX_COMPLAINTS


def test_argument_that_a_hook_does_not_have_is_said_in_a_line() -> None:
    plugins = Plugins(PluginSettings())
    assert not plugins.register(plugin(decide_flow=lambda flow: flow), "bad")
    told = "hook decide_flow has no argument 'flow' (it may have: info, upstreams, options)"
    assert plugins.problems == {"bad": f"cannot be registered: {told}"}
    assert not plugins.register(plugin(contribute_options=lambda options: options), "worse")
    assert plugins.problems["worse"].endswith("has no argument 'options' (it has none)")


def test_load_all_keeps_to_what_the_user_allows(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.py").write_text(GOOD.replace("found", name))
    settings = PluginSettings(
        folder=tmp_path, deny=frozenset({"a"}), plugins={"b": PluginEntry(enabled=False)}
    )
    plugins = Plugins(settings)
    plugins.load_all("tunproxy_no_such_group")
    assert plugins.names == ["c"]
    assert {each.name: each.why_not for each in plugins.left_out} == {
        "a": "denied (plugins.deny)",
        "b": "disabled (plugins.b.enabled)",
    }
    assert plugins.hook_names("c") == ["contribute_upstreams"]


def test_plugin_that_is_noted_is_offered_and_not_loaded() -> None:
    plugins = Plugins()
    plugins.note(Found("a", "file", "a.py", list, why_not="denied (plugins.deny)"))
    plugins.note(Found("b", "file", "b.py", list), "cannot be imported: it is gone")
    assert [each.name for each in plugins.offered] == ["a", "b"]
    assert [each.name for each in plugins.left_out] == ["a"]
    assert plugins.problems == {"b": "cannot be imported: it is gone"}
    assert plugins.names == []
