"""Which plugins there are: found, imported, registered with pluggy; and why others are not."""

import inspect
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pluggy

from tunproxy.blame import failure, source_of
from tunproxy.errors import ConfigError, OptionError
from tunproxy.logs.about import about
from tunproxy.plugin import contributions, hookspecs
from tunproxy.plugin.discovery import INSTALLED, Found, PluginFile, find_installed, find_plugins
from tunproxy.plugin.hook import Hook
from tunproxy.plugin.hook_checks import (
    HOOKS,
    import_problem,
    refuse_coroutines,
    refuse_unknown,
    refuse_wrappers,
)
from tunproxy.plugin.hookspecs import PROJECT
from tunproxy.plugin.ledger import Ledger
from tunproxy.plugin.options import build_options
from tunproxy.plugin.settings import PluginSettings

MAX_COMPLAINTS: Final = 20  # about one plugin; our choice: each policy may have new ones

_ARGUMENTS: Final = re.compile(r"for hook '(\w+)'.*Argument\(s\) \{(.*)\} are declared")

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A plugin that is registered: the object with its hooks, its options, and where it was found."""

    name: str
    plugin: object
    options: object
    priority: int
    found: Found | None = None


class _OptionsError(Exception):
    """A plugin cannot say what its options are; the text says why."""


class Registry:
    """Plugins by name, with what is wrong with those that were left out."""

    def __init__(self, settings: PluginSettings | None = None, ledger: Ledger | None = None) -> None:
        self.settings: Final = settings or PluginSettings()
        self.ledger: Final = ledger or Ledger()
        self._manager: Final = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._loaded: Final[dict[str, Loaded]] = {}
        self._problems: Final[dict[str, str]] = {}
        self._complaints: Final[dict[str, list[str]]] = {}
        self._wrong_options: Final[dict[str, tuple[str | int, ...]]] = {}
        self._left_out: Final[dict[str, Found]] = {}
        self._offered: Final[dict[str, Found]] = {}

    @property
    def problems(self) -> Mapping[str, str]:
        """What is wrong with plugins that were left out, or with what they contributed, by name."""
        return dict(self._problems)

    def complaints(self, plugin: str) -> list[str]:
        """Return what was found wrong with a plugin, MAX_COMPLAINTS at most; problems has what came last."""
        return list(self._complaints.get(plugin, ()))

    @property
    def wrong_options(self) -> Mapping[str, tuple[str | int, ...]]:
        """Which option is wrong, as in ``OptionError``, of plugins whose options cannot be used, by name."""
        return dict(self._wrong_options)

    @property
    def names(self) -> list[str]:
        """The names of the plugins that were registered, first come first."""
        return list(self._loaded)

    @property
    def loaded(self) -> list[Loaded]:
        """The plugins that were registered, first come first."""
        return list(self._loaded.values())

    @property
    def left_out(self) -> list[Found]:
        """The plugins that were found, and that the user does not want."""
        return list(self._left_out.values())

    @property
    def offered(self) -> list[Found]:
        """Whatever was to be loaded, whether it could be or not, first come first."""
        return list(self._offered.values())

    def load_installed(self, group: str = PROJECT) -> None:
        """Load what installed distributions name in their entry points, in order of name. Never raises.

        A name that is taken already is skipped: the same distribution may be found twice on the path.
        """
        for found in find_installed(self.settings, group):
            if found.name not in self._loaded:
                self.load(found)

    def load_all(self, group: str = PROJECT, files: Sequence[PluginFile] | None = None) -> None:
        """Load everything that the settings allow; raises ConfigError where a named file is not there.

        files is what was read beforehand, as for ``find_plugins``.
        """
        for found in find_plugins(self.settings, group, files):
            self.load(found)

    def load(self, found: Found) -> bool:
        """Import a plugin and register it; return False, and report why, where it has to be left out."""
        self._offered.setdefault(found.name, found)
        if found.why_not:
            self._left_out[found.name] = found
            return False
        try:
            plugin = found.load()
        except (Exception, SystemExit) as error:  # a module that calls sys.exit() is only a bad plugin
            self.complain(found.name, f"cannot be imported: {import_problem(error, str(found.path or ''))}")
            return False
        return self.register(plugin, found.name, found)

    def register(self, plugin: object, name: str, found: Found | None = None) -> bool:
        """Add a plugin; return False, and report why, where it has to be left out."""
        registered = self._loaded.get(name)
        if registered is not None:
            self.complain(name, f"cannot be registered: there is a plugin {name!r} already{_at(registered)}")
            return False
        try:
            self._manager.register(plugin, name)
            refuse_unknown(self._manager, plugin)
            self._manager.check_pending()
            refuse_wrappers(self._manager, plugin)
            refuse_coroutines(self._manager, plugin)
            answer = self._options_answer(name)
            entry = self.settings.entry(name)
            options = build_options(f"plugin {name}", contributions.options_schema(answer), entry.options)
        except _OptionsError as error:
            self._take_back(plugin, name)
            self.complain(name, f"contribute_options failed: {error}")
            return False
        except (TypeError, ValueError, pluggy.PluginValidationError) as error:
            self._take_back(plugin, name)
            self.complain(name, f"cannot be registered: {_in_words(error)}")
            return False
        except ConfigError as error:
            self._take_back(plugin, name)
            self._wrong_options[name] = error.path if isinstance(error, OptionError) else ()
            self.complain(name, f"cannot be configured: {str(error).removeprefix(f'plugin {name}: ')}")
            return False
        self._loaded[name] = Loaded(name, plugin, options, entry.priority, found)
        return True

    def hooks(self, name: str) -> list[Hook]:
        """Return the implementations of a hook in the order in which they are asked.

        That is by the priority that the user gave, and among equals the order in which pluggy calls.
        """
        hooks = reversed(getattr(self._manager.hook, name).get_hookimpls())
        made = [
            Hook(
                impl.plugin_name,
                impl.function,
                tuple(impl.argnames),
                name,
                self._loaded[impl.plugin_name].options if impl.plugin_name in self._loaded else None,
            )
            for impl in hooks
        ]
        return sorted(made, key=self.rank)

    def hook_names(self, plugin: str) -> list[str]:
        """Return which hooks a plugin implements, in the order of their life."""
        found = self._manager.get_hookcallers(self._loaded[plugin].plugin) or []
        names = {caller.name for caller in found}
        return [name for name in HOOKS if name in names]

    def note(self, found: Found, why: str = "") -> None:
        """Know of a plugin without loading it: the user does not want it, or why says what is wrong."""
        self._offered.setdefault(found.name, found)
        if found.why_not:
            self._left_out[found.name] = found
        elif why:
            self._problems[found.name] = why

    def complain(self, plugin: str, why: str) -> None:
        """Report what is wrong with a plugin."""
        self._problems[plugin] = why
        known = self._complaints.setdefault(plugin, [])
        if why not in known and len(known) < MAX_COMPLAINTS:
            known.append(why)
        trace = _log.isEnabledFor(logging.DEBUG)
        _log.error("plugin %s %s", plugin, why, exc_info=trace, extra=about(plugin=plugin))

    def rank(self, hook: Hook) -> int:
        """Return what hooks are sorted by: those of the highest priority that the user gave come first."""
        return -self._loaded[hook.plugin].priority if hook.plugin in self._loaded else 0

    def _options_answer(self, name: str) -> object:
        """Return what a plugin that has just been registered says its options are; raises _OptionsError."""
        for hook in self.hooks("contribute_options"):
            if hook.plugin == name:
                try:
                    return hook({})
                except (Exception, SystemExit) as error:
                    raise _OptionsError(failure(error, source_of(hook.function))) from error
        return None

    def _take_back(self, plugin: object, name: str) -> None:
        if self._manager.get_plugin(name) is plugin:
            self._manager.unregister(name=name)


def _in_words(error: Exception) -> str:
    """Return what is wrong with a plugin; of pluggy's words what its author can use."""
    text = " ".join(str(error).split())
    found = _ARGUMENTS.search(text)
    if found is None:
        return text
    there = ", ".join(inspect.signature(getattr(hookspecs, found[1])).parameters)
    hint = f"it may have: {there}" if there else "it has none"
    return f"hook {found[1]} has no argument {found[2]} ({hint})"


def _at(loaded: Loaded) -> str:
    return f" ({loaded.found.source})" if loaded.found is not None and loaded.found.kind != INSTALLED else ""
