"""Whom the host asks for names besides us, as that changes with the network.

The workers are told of others, and build a policy that asks them, where any asks the host's resolvers at all.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tunproxy.control.letters import ask_at_length
from tunproxy.control.questions import Questions
from tunproxy.control.resolver_search import find_resolvers
from tunproxy.errors import TunproxyError
from tunproxy.host.bus import SystemBus

_log: Final = logging.getLogger(__name__)


class HostResolvers:
    """Those that the workers know. They began with known; renew is called when they were told of others.

    renew has them build a policy, or raises TunproxyError.
    """

    def __init__(
        self,
        workers: Sequence[Questions],
        known: Sequence[str] = (),
        renew: Callable[[tuple[str, ...]], Awaitable[object]] | None = None,
    ) -> None:
        self.known = tuple(known)
        self._workers: Final = workers
        self._renew: Final = renew

    async def follow(self, bus: SystemBus | None, tun: int) -> None:
        """Look whether there are others, and tell the workers. None at all is no reason to. Never raises.

        bus is None where there is none; tun is the index of our own link.
        """
        found = await find_resolvers(bus, tun=tun)
        if not found or found == self.known or self._renew is None:
            return
        _log.info("the host's resolvers are others now: %s", ", ".join(found))
        try:
            for worker in self._workers:
                await ask_at_length(worker, "resolvers", {"resolvers": found})
            await self._renew(found)
        except TunproxyError as error:
            _log.warning("the resolvers of before are asked: %s", error)
            return
        self.known = found
