"""All that a worker answers to those who look on and command, by the names of the questions."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy.control.helm.errands import Errands
from tunproxy.control.helm.flow_feed import FlowFeed
from tunproxy.control.helm.log_ring import LogRing
from tunproxy.control.helm.measures import Measures
from tunproxy.control.helm.modes import Modes
from tunproxy.control.helm.name_desk import NameDesk
from tunproxy.control.helm.owner_search import OwnerSearch
from tunproxy.control.helm.probing import Prober
from tunproxy.control.helm.rule_list import RuleList
from tunproxy.control.helm.ways import Ways
from tunproxy.control.helm.wishes import Wishes
from tunproxy.control.history.outbox import Outbox
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.letters import About, answering
from tunproxy.control.live_names import LiveNames
from tunproxy.control.policy import Policy
from tunproxy.control.snapshot import resident_memory
from tunproxy.datagram.table import DatagramTable
from tunproxy.decide.recent import RecentFlows
from tunproxy.decide.stage import Stage
from tunproxy.decide.trace import ProcessSource
from tunproxy.flow.counters import Counters
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.upstream.health import Health
from tunproxy.wire.vnet import VNET_LEN


class Helm:
    """The parts, for one worker. adopt comes with each policy, when its decider is the current one."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        keeper: PolicyKeeper,
        health: Health,
        counters: Counters,
        tcp: TcpTable,
        datagrams: DatagramTable,
        recent: RecentFlows,
        names: LiveNames,
        owners: ProcessSource | None = None,
        wishes: Wishes | None = None,
    ) -> None:
        """wishes are what was chosen before; they are kept up to date."""
        wishes = wishes or Wishes()

        def on_change() -> None:
            tcp.on_new_policy()
            datagrams.on_new_policy()

        self._counters: Final = counters
        self._wishes: Final = wishes
        self._errands: Final = Errands()
        self._ways: Final = Ways(keeper, health, wishes.choices)
        self._modes: Final = Modes(keeper, self._ways, on_change, wishes)
        self._prober: Final = Prober(self._ways, health, self._errands)
        self._rules: Final = RuleList(keeper, wishes)
        self.owners: Final = OwnerSearch(owners)
        self._flows: Final = FlowFeed(
            (tcp.lives, datagrams.lives), (tcp.end, datagrams.end), recent, self.owners
        )
        self.history: Final = Outbox(loop, recent, (tcp.lives, datagrams.lives), self.owners)
        self._log: Final = LogRing(loop.call_later)
        self._desk: Final = NameDesk(names, self._errands)
        self._measures: Final = Measures(keeper, health, names)

    def adopt(self, policy: Policy) -> None:
        """Keep choices and mode with a new policy, and with the same one what is switched off in it."""
        self._rules.adopt(policy)
        self._ways.adopt(policy)
        self._modes.adopt(policy)

    def stage(self) -> Stage | None:
        """Return what decides in place of the rules, by the mode that somebody has chosen; None for them."""
        return self._modes.stage()

    def answers(self) -> Mapping[str, Callable[[int], object]]:
        """Return what answers the questions, each with a file (``letters``)."""
        functions: dict[str, Callable[[Any], object]] = {
            "helm-totals": self._totals,
            "helm-ways": self._describe,
            "helm-choose": self._ways.choose,
            "helm-mode": self._modes.set,
            "helm-test": self._prober.begin,
            "helm-rules": self._rules.describe,
            "helm-switch": self._rules.switch,
            "helm-flows": self._flows.news,
            "helm-end": self._flows.end,
            "helm-log": self._log.lines,
            "helm-query": self._desk.begin,
            "helm-flush": self._desk.flush,
            "helm-measures": self._measures.document,
            "helm-errand": self._errands.fetch,
        }
        return {name: answering(function) for name, function in functions.items()}

    def close(self) -> None:
        """Give up what is under way."""
        self._errands.close()
        self.history.close()
        self.owners.close()
        self._log.stop()

    def _describe(self, about: About) -> dict[str, Any]:
        return {"mode": self._wishes.mode, "way": self._wishes.way, "ways": self._ways.describe()}

    def _totals(self, about: About) -> dict[str, Any]:
        """Return the octets of IP packets each way since the start, and the memory of this process."""
        counters = self._counters
        up = int(counters.bytes_in) - VNET_LEN * int(counters.frames_in)
        down = int(counters.bytes_out) - VNET_LEN * int(counters.frames_out)
        return {"up": max(up, 0), "down": max(down, 0), "memory": resident_memory()}
