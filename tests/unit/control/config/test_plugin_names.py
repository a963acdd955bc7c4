"""Plugins that the configuration names and nobody has."""

from importlib import import_module
from pathlib import Path

import pytest

from tests.unit.control.policies import plugins_for, sources_of, use_tree_plugins, written
from tunproxy.control.config.plugin_names import unknown_plugins, wrong_options
from tunproxy.control.policy import build_policy

TEXT = """[plugins]
deny = ["nix", "socks"]
[plugins.dirct]
file = "x"
[plugins.direct]
priority = 5
"""


@pytest.fixture(autouse=True)
def tree_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tree_plugins(monkeypatch)


def test_unknown_names_are_told_with_their_place(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT)
    sources = sources_of(path)
    found = unknown_plugins(sources.document, sources.config.plugins, plugins_for(sources))
    assert [str(each).partition(" (")[0] for each in found] == [
        f"{path}:3:10: there is no plugin 'dirct'",
        f"{path}:2:8: there is no plugin 'nix'",
    ]
    assert str(found[0]).endswith("(did you mean 'direct'?)")


def test_they_are_among_the_notices_of_a_policy(tmp_path: Path) -> None:
    sources = sources_of(written(tmp_path, TEXT))
    notices = build_policy(sources, plugins_for(sources)).parts.notices
    assert len([each for each in notices if "there is no plugin" in each.message]) == 2


def test_configuration_without_a_word_of_plugins_has_none(tmp_path: Path) -> None:
    sources = sources_of(written(tmp_path, ""))
    assert unknown_plugins(sources.document, sources.config.plugins, plugins_for(sources)) == []


def test_option_that_a_plugin_has_not_is_told_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path, "[plugins.log]\nfil = 'x'\n[plugins.direct]\n")
    sources = sources_of(path)
    plugins = plugins_for(sources)
    assert not plugins.register(import_module("tunproxy_plugins.log"), "log")
    assert [str(each) for each in wrong_options(sources.document, plugins)] == [
        f"{path}:2:8: plugin log cannot be configured: no option 'fil' (did you mean 'file'?)"
    ]
