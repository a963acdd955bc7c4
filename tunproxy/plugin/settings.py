"""What the user says about plugins: which may run, in which order, with which options.

Plain values: whoever reads the configuration fills them in. ``[plugins]`` has folder, allow and deny,
``[plugins.NAME]`` what ``PluginEntry`` has and, beside it, the plugin's own options.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class PluginEntry:
    """What the user says about one plugin.

    Of two plugins that answer the same hook, the one of the higher priority is asked first, and what it
    contributes stays where names clash; among equals the order is pluggy's. options is what its own
    dataclass (``contribute_options``) is made from.
    """

    enabled: bool = True
    priority: int = 0
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class PluginSettings:
    """What the user says about all of them.

    folder is where drop-in plugins are, None for nowhere; files are those that ``--plugin`` names. allow,
    if not None, is the whole of what may be loaded; deny is never loaded. A plugin that ``--plugin`` names
    is always loaded: whoever names it wants it.
    """

    folder: Path | None = None
    files: tuple[Path, ...] = ()
    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    plugins: Mapping[str, PluginEntry] = field(default_factory=dict)

    def entry(self, name: str) -> PluginEntry:
        """Return what the user says about one plugin."""
        return self.plugins.get(name, _DEFAULT)

    def is_wanted(self, name: str) -> bool:
        """Return whether the user speaks of a plugin as one that is to be loaded."""
        return name in self.plugins or (self.allow is not None and name in self.allow)

    def written(self) -> tuple[Path, ...]:
        """Return the folders of the files that plugins are to write: what an option called file names."""
        named = [entry.options.get("file") for entry in self.plugins.values() if entry.enabled]
        return tuple(Path(each).absolute().parent for each in named if isinstance(each, str) and each)

    def why_not(self, name: str) -> str:
        """Return why a plugin found by its entry point or in the folder is not loaded, "" if it is."""
        if name in self.deny:
            return "denied (plugins.deny)"
        if self.allow is not None and name not in self.allow:
            return "not allowed (plugins.allow)"
        if not self.entry(name).enabled:
            return f"disabled (plugins.{name}.enabled)"
        return ""


_DEFAULT = PluginEntry()


def default_folder(environment: Mapping[str, str] | None = None) -> Path | None:
    """Return ``$XDG_CONFIG_HOME/tunproxy/plugins``, ``~/.config`` unless set; None without a home.

    A relative XDG_CONFIG_HOME is ignored (XDG Base Directory Specification). The environment is this
    process's own unless given.
    """
    home = (os.environ if environment is None else environment).get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(home):
        user = os.path.expanduser("~") if environment is None else environment.get("HOME", "")
        home = os.path.join(user, ".config")
    return Path(home) / "tunproxy" / "plugins" if os.path.isabs(home) else None
