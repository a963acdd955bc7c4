"""What the user says about plugins."""

from pathlib import Path

import pytest

from tunproxy.plugin.settings import PluginEntry, PluginSettings, default_folder


def test_why_not_nothing_said_loads_everything() -> None:
    assert PluginSettings().why_not("any") == ""


@pytest.mark.parametrize(
    ("settings", "name", "why"),
    [
        (PluginSettings(allow=frozenset({"a"})), "a", ""),
        (PluginSettings(allow=frozenset({"a"})), "b", "not allowed"),
        (PluginSettings(allow=frozenset()), "a", "not allowed"),
        (PluginSettings(deny=frozenset({"a"})), "a", "denied"),
        (PluginSettings(allow=frozenset({"a"}), deny=frozenset({"a"})), "a", "denied"),
        (PluginSettings(plugins={"a": PluginEntry(enabled=False)}), "a", "disabled"),
    ],
)
def test_why_not_names_what_the_user_said(settings: PluginSettings, name: str, why: str) -> None:
    found = settings.why_not(name)
    assert found.startswith(why)
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    ("xdg", "folder"),
    [
        ("/etc/xdg", "/etc/xdg/tunproxy/plugins"),
        ("", "/home/u/.config/tunproxy/plugins"),
        ("relative", "/home/u/.config/tunproxy/plugins"),
    ],
)
def test_default_folder_follows_xdg(xdg: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv("XDG_CONFIG_HOME", xdg)
    assert default_folder() == Path(folder)


def test_default_folder_of_another_environment_is_that_users() -> None:
    assert default_folder({"HOME": "/home/v"}) == Path("/home/v/.config/tunproxy/plugins")
    assert default_folder({"HOME": "/home/v", "XDG_CONFIG_HOME": "/x"}) == Path("/x/tunproxy/plugins")
    assert default_folder({}) is None
