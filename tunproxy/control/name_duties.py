"""What ``up`` does about names beside the packet path: resolved asks us, leaks are counted, fakes drained.

The order matters: at the end fake addresses are drained while everything still works, then resolved asks its
own servers again, and last nothing is counted any more.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from tunproxy.control.config.schema import DnsConfig
from tunproxy.control.dns_takeover import DnsTakeover
from tunproxy.control.draining import Draining
from tunproxy.control.host_resolvers import HostResolvers
from tunproxy.control.leaks import LeakCounter
from tunproxy.control.questions import Questions
from tunproxy.dns.settings import FAKE_IP
from tunproxy.host.scope import Scope

EVERYTHING: Final = "0.0.0.0/0"


class NameDuties:
    """Part of ``status``, too. tun is our device, routes what goes into it, mark or uid mean the worker.

    resolvers are those that the workers began with; renew is called when they were told of others. scope is
    what is captured.
    """

    def __init__(
        self,
        config: DnsConfig,
        tun: str,
        workers: Sequence[Questions],
        *,
        routes: Sequence[str],
        uid: int,
        mark: int = 0,
        resolvers: Sequence[str] = (),
        renew: Callable[[tuple[str, ...]], Awaitable[object]] | None = None,
        scope: Scope | None = None,
    ) -> None:
        scope = scope or Scope()
        why_not = "" if EVERYTHING in routes else "only some networks are routed here"
        self._leaks: Final = LeakCounter(
            tun, uid=uid, mark=mark, spared=config.hijack_except, scope=scope, why_not=why_not
        )
        self._takeover: Final = DnsTakeover(
            tun,
            workers,
            resolvers=HostResolvers(workers, resolvers, renew),
            why_not=why_not or why_left_alone(config, scope),
            on_answering=self._leaks.restart,
        )
        self._draining: Final = Draining(workers, config.drain, self._takeover.flush)

    def duties(self) -> list[AbstractAsyncContextManager[None]]:
        """Return what is to go on, in the order of its beginning."""
        return [self._leaks.counting(), self._takeover.holding(), self._draining.draining()]

    def hurry(self) -> None:
        """Wait for nobody who still uses fake addresses."""
        self._draining.hurry()

    def spare(self, spared: Collection[str]) -> None:
        """Take note that programs may ask these resolvers themselves, and no others."""
        self._leaks.spare(spared)

    def look_again(self) -> None:
        """Look soon who resolves names: the network, or the policy, is another one."""
        self._takeover.look_again()

    def document(self) -> Mapping[str, object]:
        """Return what ``status`` shows."""
        return {"resolved": self._takeover.document(), "dns_leaks": self._leaks.document()}

    def problems(self) -> list[str]:
        """Return what somebody should look at; that names leave past us is one where we answer them."""
        leaks = self._leaks.problems() if self._takeover.is_answering else []
        claims = self._takeover.claims()
        return [*self._takeover.problems(), *(f"{each}{f' ({claims})' if claims else ''}" for each in leaks)]


def why_left_alone(config: DnsConfig, scope: Scope) -> str:
    """Return why resolved is to be left alone, "" where it is not.

    What it is told, every program is told; one that is not captured could do nothing with a fake address.
    """
    if not config.resolved:
        return "resolved = false in [dns]"
    is_of_all = not (scope.users_left_alone() or scope.only_cgroups or scope.spares_cgroups)
    if config.mode == FAKE_IP and not is_of_all:
        return "some programs are not captured, and would get fake addresses from it"
    return ""
