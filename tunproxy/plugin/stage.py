"""Asks the plugins that decide flows, one by one, and bears with those that fail."""

import ipaddress
import time
from collections.abc import Mapping, Sequence
from typing import Final

from tunproxy.decide.stage import Stage
from tunproxy.decide.trace import note_asked, note_chosen
from tunproxy.flow.ports import Decider
from tunproxy.flow.targets import Targets
from tunproxy.flow.verdict import CONVERSE, DIAL, DROP, OPEN, REJECT, FlowInfo, Verdict
from tunproxy.plugin.hook import Hook
from tunproxy.plugin.ledger import MAX_FAULTS as MAX_FAULTS
from tunproxy.plugin.ledger import SUSPENDED, Ledger
from tunproxy.plugin.waiting import Waiting
from tunproxy.upstream.base import OpenUpstream, Upstream
from tunproxy.upstream.proxy import ProxyUpstream

DEED: Final = "decide"


class PluginStage(Stage):
    """The stage of all ``decide_flow`` hooks: the first plugin that has an opinion wins.

    rest decides the flows that nobody had an opinion on after one of the plugins, a coroutine, was waited
    for: the flow is then past the stages behind us. It must not answer SNIFF, as the client has not been
    accepted; None sends those flows to the upstream "direct". targets says what may be dialled for them.
    """

    def __init__(
        self,
        hooks: Sequence[Hook],
        upstreams: Mapping[str, Upstream],
        ledger: Ledger | None = None,
        *,
        rest: Decider | None = None,
        targets: Targets | None = None,
    ) -> None:
        self._hooks: Final = tuple(hooks)
        self._upstreams: Final = upstreams
        self._ledger: Final = ledger or Ledger()
        self._rest: Final = rest
        self._waiting: Final = {
            place: Waiting(hook.plugin, place, self, targets or Targets({}))
            for place, hook in enumerate(hooks)
            if hook.is_async
        }

    def decide(self, info: FlowInfo) -> Verdict | None:
        return self.ask(info, 0)

    def ask(self, info: FlowInfo, place: int) -> Verdict | None:
        """Ask the plugins from this place on; the verdict may be to wait for one that is a coroutine."""
        offered = {"info": info, "upstreams": self._upstreams}
        for at in range(place, len(self._hooks)):
            hook = self._hooks[at]
            if not hook.is_async:
                started = time.perf_counter()
                verdict = self._ledger.ask(hook, offered, checked, deed=DEED, about=info)
                self._note(info, hook, started, verdict)
                if verdict is not None:
                    return verdict
            elif info.protocol != "icmp":
                if self._ledger.may_ask(hook.plugin):
                    return self._waiting[at].verdict_for(info)
                note_asked(info, hook.plugin, 0.0, SUSPENDED)
        return None

    async def wait(self, info: FlowInfo, place: int) -> Verdict:
        """Return what the coroutine at this place answers, or else whoever comes after it."""
        verdict = await self.opinion(info, place)
        note_chosen(info, verdict)
        has_no_address = verdict is not None and verdict.kind == DIAL and info.host and not verdict.address
        if verdict is not None and not (has_no_address and self._rest is not None):
            return verdict
        return self._rest.decide(info) if self._rest is not None else self._default(info)

    async def opinion(self, info: FlowInfo, place: int) -> Verdict | None:
        """Return what the plugins from this place on answer, the first of which is a coroutine."""
        offered = {"info": info, "upstreams": self._upstreams}
        while True:
            hook = self._hooks[place]
            started = time.perf_counter()
            verdict = await self._ledger.wait_for(hook, offered, checked, deed=DEED, about=info)
            self._note(info, hook, started, verdict)
            if verdict is None:
                verdict = self.ask(info, place + 1)
            if verdict is None or not isinstance(verdict.opener, Waiting):
                return verdict
            place = verdict.opener.place

    async def settled(self, info: FlowInfo, verdict: Verdict) -> Verdict | None:
        opener = verdict.opener
        return await self.opinion(info, opener.place) if isinstance(opener, Waiting) else verdict

    def _note(self, info: FlowInfo, hook: Hook, started: float, verdict: Verdict | None) -> None:
        """Note what the plugin that was asked last had to say."""
        said = verdict if verdict is not None else self._ledger.failure or None
        note_asked(info, hook.plugin, (time.perf_counter() - started) * 1000, said)

    def faults(self) -> dict[str, int]:
        """Return how often each plugin failed."""
        return self._ledger.faults()

    def _default(self, info: FlowInfo) -> Verdict:
        direct = self._upstreams.get("direct")
        return (
            direct.verdict_for(info, "default") if direct is not None else Verdict(REJECT, "nobody decided")
        )


def checked(answer: object) -> Verdict:
    """Return answer if the packet path can act on it; raises TypeError or ValueError saying why not."""
    if not isinstance(answer, Verdict):
        raise TypeError(f"{answer!r} is no verdict")
    kind = answer.kind
    if kind == DIAL:
        if answer.address:
            ipaddress.ip_address(answer.address)  # a name would make the packet path wait for its look-up
        if not 0 <= answer.port <= 0xFFFF:
            raise ValueError(f"cannot dial port {answer.port}")
    elif kind == CONVERSE:
        ipaddress.ip_address(answer.address)
        if not 1 <= answer.port <= 0xFFFF or not isinstance(answer.opener, ProxyUpstream):
            raise ValueError(f"{answer.opener!r} holds no conversation with port {answer.port}")
    elif kind == OPEN:
        if not isinstance(answer.opener, OpenUpstream):
            raise TypeError(f"{answer.opener!r} cannot open anything")
    elif kind != REJECT and kind != DROP:
        raise ValueError(f"there is no verdict of kind {kind}")
    return answer
