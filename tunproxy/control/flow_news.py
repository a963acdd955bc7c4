"""What a worker tells of its flows: to plugins as they happen, and to whoever asks."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final

from tunproxy.control.flow_book import FlowBook, InFront, nobody
from tunproxy.control.helm.owner_search import OwnerSearch
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.letters import answering
from tunproxy.control.live_names import LiveNames
from tunproxy.control.plugin_api import PluginApi
from tunproxy.control.policy import Policy
from tunproxy.datagram.table import DatagramTable
from tunproxy.decide.recent import RecentFlows
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.plugin.telling import Telling
from tunproxy.upstream.opening import Yielding

# our choices
DRAIN_SECONDS: Final = 1.0  # for plugins to take note of the last flows, at our end
KEPT_GENERATIONS: Final = 2  # of rules besides the current ones, for flows that are over


class FlowNews:
    """watcher is for the tables; adopt and answers come after those, adopt with each policy. For the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, dataplane: Yielding) -> None:
        self.watcher: Final = RecentFlows()
        self._loop: Final = loop
        self._dataplane: Final = dataplane
        self._api: Final = PluginApi()
        self._told: Telling | None = None

    def adopt(self, policy: Policy) -> None:
        """Tell the plugins of this policy from now on. Taps of open flows stay with those who made them."""
        telling = Telling(policy.plugins, self._later)
        if self._told is not None:
            self._told.events.flush()  # for those who come after, openings are old
        self._told = telling
        self.watcher.audience = telling if telling.has_any else None
        self.watcher.observes |= bool(policy.parts.compiled.observed)  # flows of older rules may be open
        self.watcher.forget_before(policy.generation - KEPT_GENERATIONS)
        self._api.adopt(policy.plugins)

    def answers(
        self,
        tcp: TcpTable,
        datagrams: DatagramTable,
        keeper: PolicyKeeper,
        names: LiveNames,
        in_front: InFront = nobody,
        owners: OwnerSearch | None = None,
    ) -> Mapping[str, Callable[[int], object]]:
        """Return what answers the supervisor's questions about flows, by name; the rest as ``FlowBook``."""
        lives = (tcp.lives, datagrams.lives)
        book = FlowBook(lives, self.watcher, keeper, names, in_front, owners)
        return {
            "flows": answering(book.flows),
            "flow": answering(book.flow),
            "explain": answering(book.explain),
            "plugin-api": self._api.serve,
        }

    async def close(self, tcp: TcpTable, datagrams: DatagramTable) -> None:
        """End all flows, and return when the plugins know; nobody is told anything after that."""
        tcp.close()
        datagrams.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                if self._told is not None:
                    await self._told.drain()
        self.watcher.audience = None
        await self._api.close()

    def _later(self, seconds: float, function: Callable[[], None]) -> None:
        self._loop.call_later(seconds, function)
        self._dataplane.yield_loop()
