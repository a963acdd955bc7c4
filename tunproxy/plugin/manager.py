"""Finds plugins, keeps those that work, and knows why the others do not."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Final

import pluggy

from tunproxy.plugin import hookspecs
from tunproxy.plugin.hookspecs import PROJECT
from tunproxy.upstream.base import Upstream

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hook:
    """One plugin's implementation of one hook; arguments names those that it wants."""

    plugin: str
    function: Callable[..., object]
    arguments: tuple[str, ...]

    def __call__(self, offered: Mapping[str, object]) -> object:
        """Call it with those of the offered arguments that it wants."""
        return self.function(*[offered[name] for name in self.arguments])


class Plugins:
    """The plugins of one process."""

    def __init__(self) -> None:
        self._manager: Final = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._problems: Final[dict[str, str]] = {}

    @property
    def problems(self) -> Mapping[str, str]:
        """What is wrong with plugins that were left out, or with what they contributed, by name."""
        return dict(self._problems)

    @property
    def names(self) -> list[str]:
        """The names of the plugins that were registered, first come first."""
        return [name for name, _ in self._manager.list_name_plugin()]

    def load_installed(self, group: str = PROJECT) -> None:
        """Load what installed distributions name in their entry points, in order of name. Never raises.

        A name that is taken already is skipped: the same distribution may be found twice on the path.
        """
        for entry in sorted(metadata.entry_points(group=group), key=lambda entry: entry.name):
            if self._manager.has_plugin(entry.name):
                continue
            try:
                plugin = entry.load()
            except (Exception, SystemExit) as error:  # a module that calls sys.exit() is only a bad plugin
                self._complain(entry.name, f"cannot be imported: {type(error).__name__}: {error}")
                continue
            self.register(plugin, entry.name)

    def register(self, plugin: object, name: str) -> bool:
        """Add a plugin; return False, and report why, where it has to be left out."""
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
            self._refuse_wrappers(plugin)
        except (TypeError, ValueError, pluggy.PluginValidationError) as error:
            if self._manager.get_plugin(name) is plugin:
                self._manager.unregister(name=name)
            self._complain(name, f"cannot be registered: {' '.join(str(error).split())}")
            return False
        return True

    def hooks(self, name: str) -> list[Hook]:
        """Return the implementations of a hook in the order in which pluggy calls them."""
        found = getattr(self._manager.hook, name).get_hookimpls()
        return [Hook(impl.plugin_name, impl.function, tuple(impl.argnames)) for impl in reversed(found)]

    def upstreams(self) -> dict[str, Upstream]:
        """Return what the plugins contribute, by name; asks each of them again."""
        found: dict[str, Upstream] = {}
        for hook in reversed(self.hooks("contribute_upstreams")):
            try:
                for upstream in _upstreams_in(hook({})):
                    if upstream.name in found:
                        self._complain(hook.plugin, f"there is an upstream {upstream.name!r} already")
                    else:
                        found[upstream.name] = upstream
            except (Exception, SystemExit) as error:
                self._complain(hook.plugin, f"contribute_upstreams failed: {type(error).__name__}: {error}")
        return found

    def _refuse_wrappers(self, plugin: object) -> None:
        """Raise TypeError where plugin wraps hooks: we call one at a time, to know whom to blame."""
        for caller in self._manager.get_hookcallers(plugin) or ():
            for impl in caller.get_hookimpls():
                if impl.plugin is plugin and (impl.wrapper or impl.hookwrapper):
                    raise TypeError(f"{caller.name} is a wrapper (plain hooks only)")

    def _complain(self, plugin: str, why: str) -> None:
        self._problems[plugin] = why
        _log.error("plugin %s %s", plugin, why, exc_info=_log.isEnabledFor(logging.DEBUG))


def _upstreams_in(answer: object) -> Iterable[Upstream]:
    """Yield the upstreams of an answer; raises TypeError at the first thing that is none."""
    if answer is None:
        return
    if not isinstance(answer, Iterable):
        raise TypeError(f"{answer!r} is no list of upstreams")
    for upstream in answer:
        if not isinstance(upstream, Upstream) or not isinstance(upstream.name, str) or not upstream.name:
            raise TypeError(f"{upstream!r} is no upstream with a name")
        yield upstream
