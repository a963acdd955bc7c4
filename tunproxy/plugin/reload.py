"""Loads plugins anew whose files have changed: those of the folder, and those that ``--plugin`` named.

Who watches the files is ``control.reload``, in the supervisor, with the rights of the user; here, in the
worker, they are contents already. What has changed is tried aside. Then there are new ``Plugins``, in which
the rest are the same objects, and whoever asked makes a new policy of them. Flows that are open keep the old
code, which stays in memory for as long as something refers to it.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from tunproxy.logs.about import about
from tunproxy.plugin.discovery import Found, PluginFile, find_in_files
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.registry import Loaded

_log: Final = logging.getLogger(__name__)


def renewed(plugins: Plugins, before: Iterable[PluginFile], now: Iterable[PluginFile]) -> Plugins:
    """Return the plugins that there are now; those that we have, where nothing has changed.

    before is what they were made from. Imports what is new, in the caller's thread. Never raises: problems
    says what is wrong, and of what is of no use the old version stays.
    """
    files = list(now)
    old, new = _by_name(before), _by_name(files)
    changed = {name for name, contents in new.items() if old.get(name) != contents}
    gone = sorted(old.keys() - new.keys())
    if not changed and not gone:
        return plugins
    for name in gone:
        _log.info("plugin %s is gone: %s", name, old[name][0].path, extra=about(plugin=name))
    installed = [each for each in plugins.offered if each.path is None]
    return refreshed(plugins, [*installed, *find_in_files(plugins.settings, files)], changed)


def refreshed(plugins: Plugins, found: Sequence[Found], changed: Collection[str]) -> Plugins:
    """Return the plugins that there are now: found is all of them, changed names those to load anew.

    The others are the same objects, and plugins stays as it is. A new version is tried aside first; where it
    cannot be used the old one stays, and problems says why.
    """
    new = Plugins(plugins.settings, plugins.ledger)
    loaded = {each.name: each for each in plugins.loaded}
    for each in plugins.loaded:
        if each.found is None:
            new.register(each.plugin, each.name)
    problems = plugins.problems
    for item in found:
        name = item.name
        old = loaded.get(name)
        if item.why_not or (name not in changed and old is None and name in problems):
            new.note(item, problems.get(name, ""))
        elif old is not None and name not in changed:
            new.note(item)
            new.register(old.plugin, name, old.found)
            if name in problems and name not in new.problems:
                new.note(item, problems[name])
        else:
            new.note(item)
            _try(new, item, old)
    return new


def _try(new: Plugins, item: Found, old: Loaded | None) -> None:
    """Register in new what is found at item now, or else old, which was registered before."""
    name = item.name
    aside = Plugins(new.settings)
    if aside.load(item):
        aside.rehearse()
    why = aside.problems.get(name)
    if why is None:
        if new.register(aside.loaded[0].plugin, name, item):
            new.ledger.forgive(name)
            _log.info("plugin %s is loaded from %s", name, item.source, extra=about(plugin=name))
    elif old is None:
        new.note(item, why)
    else:
        fields = about(plugin=name)
        _log.warning("plugin %s stays as it was: the new version %s", name, why, extra=fields)
        new.register(old.plugin, name, old.found)
        new.note(item, f"stays as it was: the new version {why}")


def _by_name(files: Iterable[PluginFile]) -> dict[str, list[PluginFile]]:
    """Return files by the name of their plugin: of two with one name the first is loaded."""
    found: dict[str, list[PluginFile]] = {}
    for each in files:
        found.setdefault(each.path.stem, []).append(each)
    return found
