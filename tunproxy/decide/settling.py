"""Finds out what could not be known at once, and decides then: names are resolved, processes searched for."""

import ipaddress
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tunproxy.decide.trace import WAITING, Trace, search_process, trace_of
from tunproxy.errors import TunproxyError
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.logs.about import about
from tunproxy.rules.facts import NEEDS_PROCESS

Resolve = Callable[[str], Awaitable[Sequence[str]]]

_log: Final = logging.getLogger(__name__)

_MAX_ROUNDS: Final = 8  # our choice: there are two things to find out, and rules may ask for both in turn


class Settler:
    """Decides flows whose verdict says WAITING.

    resolve returns the addresses of a name, best first, none where there is no such name; it raises OSError
    or TunproxyError where that could not be had. None: nobody resolves anything.
    """

    def __init__(self, resolve: Resolve | None) -> None:
        self._resolve: Final = resolve

    async def settle(self, info: FlowInfo) -> Verdict:
        """Return the verdict, which waits for nothing more. Only cancellation is raised."""
        trace = trace_of(info)
        if trace is None:
            raise TypeError(f"{info}: nobody has begun to decide this flow")
        for _ in range(_MAX_ROUNDS):
            await self._find_out(info, trace)
            verdict = trace.ruling.judge(info, trace, False, True)
            if trace.state != WAITING:
                return verdict
        return trace.ruling.judge(info, trace, False, False)

    def addresses_of(self, info: FlowInfo) -> Sequence[str]:
        """Return what the flow's name was resolved to, best first, where it is the name that is dialled."""
        trace = trace_of(info)
        return trace.addresses if trace is not None and trace.is_fake else ()

    def is_unresolved(self, info: FlowInfo) -> bool:
        """Tell whether the flow was refused because nobody knows where its name is."""
        trace = trace_of(info)
        return trace is not None and trace.is_unresolved

    async def _find_out(self, info: FlowInfo, trace: Trace) -> None:
        facts = trace.facts
        if facts.needs & NEEDS_PROCESS and not facts.process_asked:
            await search_process(facts)
        elif facts.host and not facts.target and not facts.address_asked:
            trace.addresses = await self._addresses(info, facts.host)
            if trace.addresses:
                facts.target = ipaddress.ip_address(trace.addresses[0]).packed
            else:
                facts.address_asked = True

    async def _addresses(self, info: FlowInfo, host: str) -> list[str]:
        if self._resolve is None:
            return []
        try:
            return [str(ipaddress.ip_address(address)) for address in await self._resolve(host)]
        except (OSError, TunproxyError, ValueError) as error:
            _log.info("%s: cannot resolve %s: %s", info, host, error, extra=about(flow=info))
            return []
