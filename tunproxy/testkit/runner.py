"""Loads one plugin and asks its hooks as the worker does, with nothing behind them and no fault forgiven."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from tunproxy.flow.targets import Targets
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.plugin.contributions import CodecType, Command
from tunproxy.plugin.discovery import load_file
from tunproxy.plugin.events import FlowEvents
from tunproxy.plugin.ledger import Budgets, Ledger
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.observing import Observers
from tunproxy.plugin.records import FlowClosed, FlowOpened
from tunproxy.plugin.resolving import GuardedResolver
from tunproxy.plugin.routes import api_routes
from tunproxy.plugin.rule_kinds import custom_kinds
from tunproxy.plugin.settings import PluginEntry, PluginSettings
from tunproxy.plugin.stage import PluginStage
from tunproxy.plugin.waiting import Waiting
from tunproxy.rules.facts import INDETERMINATE, MATCHED, Facts
from tunproxy.testkit.network import SimulatedNetwork
from tunproxy.testkit.virtual import VirtualLoop
from tunproxy.upstream.base import DialUpstream, Opened, OpenUpstream, Upstream
from tunproxy.upstream.deferred import DeferredUpstream
from tunproxy.upstream.types import UpstreamType, build_from_url

NAME: Final = "plugin"

Result = TypeVar("Result")


class PluginFault(AssertionError):
    """The plugin cannot be loaded, or did what in a worker would be logged and counted as its fault."""


class PluginRunner:
    """One plugin, loaded: a file, or a module or object with hooks. A context manager.

    options is what the user would write in ``[plugins.NAME]``; upstreams are those that others contribute,
    ``direct`` unless given. Everything raises PluginFault where the plugin is at fault.
    """

    def __init__(
        self,
        plugin: object,
        options: Mapping[str, object] | None = None,
        *,
        upstreams: Sequence[Upstream] | None = None,
    ) -> None:
        if isinstance(plugin, (str, Path)):
            path = Path(plugin)
            name = path.stem
            plugin = load_file(path)
        else:
            name = getattr(plugin, "__name__", NAME).rpartition(".")[2]
        self.name: Final = name
        self.loop: Final = VirtualLoop()
        self.network: Final = SimulatedNetwork()
        settings = PluginSettings(plugins={name: PluginEntry(options=options or {})})
        # A test's machine may be slow, or somebody may look at it with a debugger: that is nobody's fault.
        self._ledger: Final = Ledger(Budgets(slow=1e9, limit=1e9), clock=self.loop.clock)
        self._plugins: Final = Plugins(settings, self._ledger)
        self.upstreams: Final[dict[str, Upstream]] = {}
        try:
            self._load(plugin, upstreams)
        except BaseException:
            self.loop.close()
            raise
        self._stage: Final = PluginStage(
            self._plugins.hooks("decide_flow"), self.upstreams, self._ledger, rest=None
        )
        self._events: Final = FlowEvents(self._plugins, _never)
        self._observers: Final = Observers(self._plugins, _never)

    def _load(self, plugin: object, upstreams: Sequence[Upstream] | None) -> None:
        if not self._plugins.register(plugin, self.name):
            raise PluginFault(f"plugin {self.name} {self._plugins.problems[self.name]}")
        given = [DialUpstream("direct")] if upstreams is None else upstreams
        self.upstreams.update((each.name, each) for each in given)
        self.upstreams.update(self._contributed(self._plugins.upstreams))

    def __enter__(self) -> "PluginRunner":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except AssertionError as objection:
            if error is None:
                raise
            error.add_note(f"and a script of the network says: {objection}")

    def close(self) -> None:
        """End the servers of the network; raises what a script has to object."""
        if self.loop.is_closed():
            return
        try:
            self.loop.run(self.network.close())
        finally:
            self.loop.close()

    @property
    def options(self) -> object:
        """The plugin's options, as its hooks get them."""
        return self._plugins.loaded[0].options

    @property
    def hooks(self) -> list[str]:
        """Which hooks the plugin implements."""
        return self._plugins.hook_names(self.name)

    def decide(self, info: FlowInfo) -> Verdict | None:
        """Return what the plugin decides, after waiting for it where it is a coroutine; None: no opinion."""
        verdict = self._blaming(lambda: self._stage.decide(info))
        if verdict is None or not isinstance(verdict.opener, Waiting):
            return verdict
        place = verdict.opener.place
        return self._blaming(lambda: self.run(self._stage.opinion(info, place)))

    def open(self, info: FlowInfo, upstream: Upstream | str) -> Opened:
        """Open a flow through an upstream, or one of this name, over the simulated network.

        The caller closes the socket. Raises what ``open`` raises: OpenError, OSError.
        """
        way = self.upstreams[upstream] if isinstance(upstream, str) else upstream
        if not isinstance(way, OpenUpstream):
            way = DeferredUpstream(_Chosen(way), Targets({}), way.name)
        opened = self.run(way.open(info, self.network))
        return opened if isinstance(opened, Opened) else Opened(opened)

    def upstream_types(self) -> dict[str, UpstreamType]:
        """Return the upstream types that the plugin contributes, by name."""
        return self._contributed(self._plugins.upstream_types)

    def build_upstream(self, url: str) -> Upstream:
        """Return the upstream that a URL means, where its scheme is one of the plugin's upstream types."""
        return build_from_url(url, self.upstream_types())

    def codecs(self) -> dict[str, CodecType]:
        """Return the kinds of codecs that the plugin contributes, by name."""
        return self._contributed(self._plugins.codecs)

    def commands(self) -> dict[str, Command]:
        """Return the commands that the plugin contributes, by name."""
        return self._contributed(self._plugins.commands)

    def rule(self, kind: str, payload: str) -> "Rule":
        """Return a rule of one of the plugin's kinds. Raises ValueError for a wrong payload."""
        kinds = custom_kinds(self._contributed(self._plugins.rule_kinds), self._ledger)
        return Rule(self, kinds[kind].matcher(payload).test)

    def resolve(self, resolver: str, name: str) -> tuple[str, ...]:
        """Return the addresses that one of the plugin's resolvers finds. Raises OSError as it does."""
        plugin, found = self._contributed(self._plugins.resolvers)[resolver]
        guarded = GuardedResolver(plugin, found, self._ledger)
        return self._blaming(lambda: self.run(guarded.resolve(name)))

    def request(self, method: str, path: str, request: object = None) -> Any:
        """Return aiohttp's response of a route of the plugin's; path is as the route says it."""
        whole = f"/plugins/{self.name}{path}"
        routes = {
            (each, at): handler for each, at, handler in self._contributed(lambda: api_routes(self._plugins))
        }

        async def ask() -> Any:  # Any: aiohttp's response
            return await routes[method, whole](request)

        return self._blaming(lambda: self.run(ask()))

    def tell_opened(self, *records: FlowOpened) -> None:
        """Tell the plugin of flows whose way is open, as one batch."""
        for record in records:
            self._events.opened(record)
        self._blaming(lambda: self.run(self._events.drain()))

    def tell_closed(self, *records: FlowClosed) -> None:
        """Tell the plugin of flows that are over, as one batch."""
        for record in records:
            self._events.closed(record)
        self._blaming(lambda: self.run(self._events.drain()))

    def observe(self, info: FlowInfo, up: Sequence[bytes] = (), down: Sequence[bytes] = ()) -> bool:
        """Show the plugin a flow: pieces of both directions, and its end; return whether it wanted it."""
        tap = self._blaming(lambda: self._observers.tap(info))
        if tap is None:
            return False
        for is_up, pieces in ((True, up), (False, down)):
            for piece in pieces:
                tap.take(is_up, piece)
        tap.close("closed")
        self._blaming(self._observers.flush)
        return True

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:  # Any: what asyncio's own says
        """Return what a coroutine returns, run on virtual time."""
        return self.loop.run(coroutine)

    def _contributed(self, ask: Callable[[], Result]) -> Result:
        found = ask()
        if self._plugins.problems:
            raise PluginFault(f"plugin {self.name} {self._plugins.problems[self.name]}")
        return found

    def _blaming(self, act: Callable[[], Result]) -> Result:
        """Return what act returns; raises PluginFault if the plugin was at fault meanwhile."""
        before = self._ledger.faults().get(self.name, 0)
        found = act()
        if self._ledger.faults().get(self.name, 0) > before:
            self._ledger.forgive(self.name)
            raise PluginFault(f"plugin {self.name}: {self._ledger.statistics()[self.name].last_fault}")
        return found


class Rule:
    """A rule of one of the plugin's kinds."""

    def __init__(self, runner: PluginRunner, test: Callable[[Facts], int]) -> None:
        self._runner: Final = runner
        self._test: Final = test

    def match(self, facts: Facts) -> bool | None:
        """Say whether a flow meets it; None where facts.needs says what to find out first."""
        answer = self._runner._blaming(lambda: self._test(facts))
        return None if answer == INDETERMINATE else answer == MATCHED


class _Chosen:
    """Somebody who has decided already."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream: Final = upstream

    async def settle(self, info: FlowInfo) -> Verdict:
        return self._upstream.verdict_for(info)

    def addresses_of(self, info: FlowInfo) -> Sequence[str]:
        return ()

    def is_unresolved(self, info: FlowInfo) -> bool:
        return False


def _never(seconds: float, function: Callable[[], None]) -> None:
    """Do not call function: the runner does when it wants to."""
