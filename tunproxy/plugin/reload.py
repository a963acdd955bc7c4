"""Loads plugins anew whose files have changed: those of the folder, and those that ``--plugin`` named.

Who watches the files is ``control.reload``, in the supervisor, with the rights of the user; here, in the
worker, they are contents already. What has changed is tried aside. Then there are new ``Plugins``, in which
the rest are the same objects, and whoever asked makes a new policy of them. Flows that are open keep the old
code, which stays in memory for as long as something refers to it.
"""

import logging
from collections.abc import Iterable
from typing import Final

from tunproxy.plugin.discovery import PluginFile, find_in_files
from tunproxy.plugin.manager import Plugins

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
        _log.info("plugin %s is gone: %s", name, old[name][0].path)
    installed = [each for each in plugins.offered if each.path is None]
    return plugins.refreshed([*installed, *find_in_files(plugins.settings, files)], changed)


def _by_name(files: Iterable[PluginFile]) -> dict[str, list[PluginFile]]:
    """Return files by the name of their plugin: of two with one name the first is loaded."""
    found: dict[str, list[PluginFile]] = {}
    for each in files:
        found.setdefault(each.path.stem, []).append(each)
    return found
