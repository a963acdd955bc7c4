"""Finds plugins, keeps those that work, and knows why the others do not."""

import difflib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import pluggy

from tunproxy.errors import ConfigError
from tunproxy.plugin import contributions, hookspecs
from tunproxy.plugin.contributions import CodecType, Command, Named, Resolver, Route, RuleKind
from tunproxy.plugin.discovery import INSTALLED, Found, PluginFile, find_installed, find_plugins
from tunproxy.plugin.hook import Hook as Hook
from tunproxy.plugin.hookspecs import PROJECT
from tunproxy.plugin.ledger import Ledger
from tunproxy.plugin.options import build_options
from tunproxy.plugin.settings import PluginSettings
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.types import UpstreamType

HOOKS: Final = tuple(
    name for name, function in vars(hookspecs).items() if hasattr(function, f"{PROJECT}_spec")
)

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A plugin that is registered: the object with its hooks, its options, and where it was found."""

    name: str
    plugin: object
    options: object
    priority: int
    found: Found | None = None


class Plugins:
    """The plugins of one process, or of one state of it: what has changed becomes a new one (``refreshed``).

    The ledger has the accounts of the plugins' calls; those who come after us get the same one.
    """

    def __init__(self, settings: PluginSettings | None = None, ledger: Ledger | None = None) -> None:
        self.settings: Final = settings or PluginSettings()
        self.ledger: Final = ledger or Ledger()
        self._manager: Final = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._loaded: Final[dict[str, Loaded]] = {}
        self._problems: Final[dict[str, str]] = {}
        self._left_out: Final[dict[str, Found]] = {}
        self._offered: Final[dict[str, Found]] = {}

    @property
    def problems(self) -> Mapping[str, str]:
        """What is wrong with plugins that were left out, or with what they contributed, by name."""
        return dict(self._problems)

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
            self._complain(found.name, f"cannot be imported: {import_problem(error)}")
            return False
        return self.register(plugin, found.name, found)

    def register(self, plugin: object, name: str, found: Found | None = None) -> bool:
        """Add a plugin; return False, and report why, where it has to be left out."""
        registered = self._loaded.get(name)
        if registered is not None:
            self._complain(name, f"cannot be registered: there is a plugin {name!r} already{_at(registered)}")
            return False
        try:
            self._manager.register(plugin, name)
            self._refuse_unknown(plugin)
            self._manager.check_pending()
            self._refuse_wrappers(plugin)
            entry = self.settings.entry(name)
            options = build_options(f"plugin {name}", self._schema(name), entry.options)
        except (TypeError, ValueError, pluggy.PluginValidationError) as error:
            self._take_back(plugin, name)
            self._complain(name, f"cannot be registered: {' '.join(str(error).split())}")
            return False
        except ConfigError as error:
            self._take_back(plugin, name)
            self._complain(name, f"cannot be configured: {str(error).removeprefix(f'plugin {name}: ')}")
            return False
        except (Exception, SystemExit) as error:
            self._take_back(plugin, name)
            self._complain(name, f"contribute_options failed: {type(error).__name__}: {error}")
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
        return sorted(made, key=self._rank)

    def hook_names(self, plugin: str) -> list[str]:
        """Return which hooks a plugin implements, in the order of their life."""
        found = self._manager.get_hookcallers(self._loaded[plugin].plugin) or []
        names = {caller.name for caller in found}
        return [name for name in HOOKS if name in names]

    def upstream_types(self) -> dict[str, UpstreamType]:
        """Return the kinds of upstreams that the plugins contribute, by name; asks each of them again."""
        return self._contributed(
            "contribute_upstream_types", "upstream type", contributions.upstream_types_in
        )

    def upstreams(self) -> dict[str, Upstream]:
        """Return what the plugins contribute, by name; asks each of them again."""
        return self._contributed("contribute_upstreams", "upstream", contributions.upstreams_in)

    def codecs(self) -> dict[str, CodecType]:
        """Return the kinds of codecs that the plugins contribute, by name; asks each of them again."""
        return self._contributed("contribute_codecs", "codec type", contributions.codec_types_in)

    def resolvers(self) -> dict[str, tuple[str, Resolver]]:
        """Return the resolvers that the plugins contribute, by name, with the plugin that each is of."""
        return self._with_owner("contribute_resolvers", "resolver", contributions.resolvers_in)

    def rule_kinds(self) -> dict[str, tuple[str, RuleKind]]:
        """Return the types of rules that the plugins contribute, by name, with the plugin of each."""
        return self._with_owner("contribute_rule_kinds", "rule kind", contributions.rule_kinds_in)

    def commands(self) -> dict[str, Command]:
        """Return the commands that the plugins contribute, by name; asks each of them again."""
        return self._contributed("contribute_commands", "command", contributions.commands_in)

    def routes(self) -> list[tuple[str, Route]]:
        """Return the parts of the API that the plugins contribute, with the plugin that each is of."""
        found: dict[tuple[str, str, str], Route] = {}
        for hook in self._contributors("contribute_routes"):
            try:
                for route in contributions.routes_in(hook({})):
                    found.setdefault((hook.plugin, route.method, route.path), route)
            except (Exception, SystemExit) as error:
                self._complain(hook.plugin, f"contribute_routes failed: {type(error).__name__}: {error}")
        return [(plugin, route) for (plugin, _, _), route in found.items()]

    def refreshed(self, found: Sequence[Found], changed: Collection[str]) -> "Plugins":
        """Return the plugins that there are now: found is all of them, changed names those to load anew.

        The others are the same objects, and we stay as we are. A new version is tried aside first; where it
        cannot be used the old one stays, and problems says why.
        """
        new = Plugins(self.settings, self.ledger)
        for each in self.loaded:
            if each.found is None:
                new.register(each.plugin, each.name)
        for item in found:
            name = item.name
            new._offered.setdefault(name, item)
            old = self._loaded.get(name)
            if item.why_not or (name not in changed and old is None and name in self._problems):
                self._carry_over(new, item)
            elif old is not None and name not in changed:
                new.register(old.plugin, name, old.found)
                if name in self._problems:
                    new._problems.setdefault(name, self._problems[name])
            else:
                self._try_new(new, item, old)
        return new

    def rehearse(self) -> None:
        """Ask every plugin what it contributes to a policy, so that problems has what is wrong with it."""
        self.upstream_types()
        self.upstreams()
        self.codecs()
        self.resolvers()
        self.rule_kinds()

    def _carry_over(self, new: "Plugins", item: Found) -> None:
        """Leave a plugin out of new, for the reason for which we do."""
        if item.why_not:
            new._left_out[item.name] = item
        else:
            new._problems[item.name] = self._problems[item.name]

    def _try_new(self, new: "Plugins", item: Found, old: Loaded | None) -> None:
        """Register in new what is found at item now, or else what is registered here."""
        name = item.name
        aside = Plugins(self.settings)
        if aside.load(item):
            aside.rehearse()
        why = aside.problems.get(name)
        if why is None:
            if new.register(aside.loaded[0].plugin, name, item):
                self.ledger.forgive(name)
                _log.info("plugin %s is loaded from %s", name, item.source)
        elif old is None:
            new._problems[name] = why
        else:
            _log.warning("plugin %s stays as it was: the new version %s", name, why)
            new.register(old.plugin, name, old.found)
            new._problems[name] = f"stays as it was: the new version {why}"

    def _contributed(
        self, hook_name: str, what: str, checked: Callable[[object], Iterable[Named]]
    ) -> dict[str, Named]:
        """Collect what the plugins return from a hook, by name: of two with one name the first stays."""
        return {name: thing for name, (_, thing) in self._with_owner(hook_name, what, checked).items()}

    def _with_owner(
        self, hook_name: str, what: str, checked: Callable[[object], Iterable[Named]]
    ) -> dict[str, tuple[str, Named]]:
        found: dict[str, tuple[str, Named]] = {}
        for hook in self._contributors(hook_name):
            try:
                for thing in checked(hook({})):
                    if thing.name in found:
                        article = "an" if what[0] in "aeiou" else "a"
                        self._complain(hook.plugin, f"there is {article} {what} {thing.name!r} already")
                    else:
                        found[thing.name] = (hook.plugin, thing)
            except (Exception, SystemExit) as error:
                self._complain(hook.plugin, f"{hook_name} failed: {type(error).__name__}: {error}")
        return found

    def _contributors(self, hook_name: str) -> list[Hook]:
        """Return the implementations in the order in which they contribute: first come, first served."""
        hooks = self.hooks(hook_name)
        hooks.reverse()
        hooks.sort(key=self._rank)  # stable
        return hooks

    def _rank(self, hook: Hook) -> int:
        return -self._loaded[hook.plugin].priority if hook.plugin in self._loaded else 0

    def _schema(self, name: str) -> type | None:
        """Return the dataclass of the options of a plugin that has just been registered; raises."""
        for hook in self.hooks("contribute_options"):
            if hook.plugin == name:
                return contributions.options_schema(hook({}))
        return None

    def _refuse_unknown(self, plugin: object) -> None:
        """Raise ValueError where plugin implements a hook that there is not."""
        for caller in self._manager.get_hookcallers(plugin) or ():
            if not caller.has_spec():
                meant = difflib.get_close_matches(caller.name, HOOKS, n=1)
                hint = f"did you mean {meant[0]!r}?" if meant else f"there are: {', '.join(HOOKS)}"
                raise ValueError(f"there is no hook {caller.name!r} ({hint})")

    def _refuse_wrappers(self, plugin: object) -> None:
        """Raise TypeError where plugin wraps hooks: we call one at a time, to know whom to blame."""
        for caller in self._manager.get_hookcallers(plugin) or ():
            for impl in caller.get_hookimpls():
                if impl.plugin is plugin and (impl.wrapper or impl.hookwrapper):
                    raise TypeError(f"{caller.name} is a wrapper (plain hooks only)")

    def _take_back(self, plugin: object, name: str) -> None:
        if self._manager.get_plugin(name) is plugin:
            self._manager.unregister(name=name)

    def _complain(self, plugin: str, why: str) -> None:
        self._problems[plugin] = why
        _log.error("plugin %s %s", plugin, why, exc_info=_log.isEnabledFor(logging.DEBUG))


def import_problem(error: BaseException) -> str:
    """Return, in one line, why a module could not be imported, and what to do where that is known."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}:{error.offset}: {error.msg}"
    missing = cast(str, getattr(error, "name", "")) if isinstance(error, ModuleNotFoundError) else ""
    if missing and not missing.startswith(("tunproxy.", "tunproxy_")):
        return f"{text} (it needs {missing.split('.')[0]}, which is not installed)"
    return text


def _at(loaded: Loaded) -> str:
    return f" ({loaded.found.source})" if loaded.found is not None and loaded.found.kind != INSTALLED else ""
