"""What plugins contribute, and leaving out what makes no sense."""

import sys
import types
from collections.abc import Callable, Iterable

import pytest

from tunproxy.plugin.api import DialUpstream, Resolver, Route, Upstream, hookimpl
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.settings import PluginEntry, PluginSettings


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


def test_upstreams_of_the_higher_priority_stay_where_names_clash() -> None:
    plugins = Plugins(PluginSettings(plugins={"b": PluginEntry(priority=1)}))
    first, second = contributing("same"), contributing("same", "other")
    plugins.register(first, "a")
    plugins.register(second, "b")
    assert list(plugins.upstreams()) == ["same", "other"]
    assert "there is an upstream 'same' already" in plugins.problems["a"]
    assert "b" not in plugins.problems


def test_contributions_know_whose_they_are() -> None:
    class Book(Resolver):
        async def resolve(self, name: str) -> list[str]:
            return []

    async def handler(request: object) -> None:
        pass

    book = Book("book")
    route = Route("GET", "", handler)
    plugins = Plugins()
    both = {"contribute_resolvers": lambda: [book], "contribute_routes": lambda: [route, route]}
    assert plugins.register(plugin(**both), "a")
    assert plugins.register(plugin(contribute_resolvers=lambda: [book], contribute_routes=lambda: 7), "b")
    assert plugins.resolvers() == {"book": ("a", book)}
    assert "there is a resolver 'book' already" in plugins.problems["b"]
    assert plugins.routes() == [("a", route)]
    assert "contribute_routes failed: TypeError: 7 is no list" in plugins.problems["b"]


def test_rehearse_finds_what_is_wrong_with_contributions() -> None:
    plugins = Plugins()
    assert plugins.register(plugin(contribute_codecs=lambda: [7]), "bad")
    assert plugins.problems == {}
    plugins.rehearse()
    assert "7 is no codec type" in plugins.problems["bad"]
