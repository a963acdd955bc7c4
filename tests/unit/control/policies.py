"""Configurations in files, and the plugins of the tree to build policies with."""

from importlib import import_module
from pathlib import Path

import pytest

from tunproxy.control import policy, rule_files
from tunproxy.control.config.building import Parts, build_parts
from tunproxy.control.config.sets import SetCache
from tunproxy.control.config.sources import Sources, read_sources
from tunproxy.control.settings import PolicyOptions
from tunproxy.plugin.manager import Plugins

NAMES = ("compress", "direct", "encrypt", "groups", "http", "socks")


def plugins_for(sources: Sources) -> Plugins:
    """Return the tree's plugins, whatever is installed."""
    found = Plugins(sources.config.plugins)
    for name in NAMES:
        assert found.register(import_module(f"tunproxy_plugins.{name}"), name), found.problems
    return found


def use_tree_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands use these plugins."""
    monkeypatch.setattr(policy, "load_plugins", plugins_for)
    monkeypatch.setattr(rule_files, "load_plugins", plugins_for)


def written(folder: Path, text: str, **files: str) -> Path:
    """Write a configuration, and files beside it (ads_txt is ads.txt); return its path."""
    path = folder / "tunproxy.toml"
    path.write_text(text)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return path


def sources_of(path: Path, **options: str) -> Sources:
    return read_sources(PolicyOptions(config=str(path), **options), {})


def built(path: Path, cache: SetCache | None = None) -> Parts:
    """Return the parts that the configuration at path has."""
    sources = read_sources(PolicyOptions(config=str(path)), {}, keeps_good=True)
    return build_parts(sources, plugins_for(sources), cache=cache)
