"""All members in a row: through the first to the second, and so on, and through the last to the target."""

from collections.abc import Sequence
from typing import Final

from tunproxy.plugin.api import (
    DIAL,
    REJECT,
    ConfigError,
    FlowInfo,
    Group,
    OptionError,
    ProxyUpstream,
    Relayed,
    Upstream,
    Verdict,
)

# our choice: as groups among the members choose differently, there are different ways
MAX_WAYS: Final = 256


class Relay(Group):
    """Sends TCP through each of its members, which are proxies, or groups that choose one.

    ``direct`` among them adds nothing and is left out. UDP goes this way no further than a single proxy.
    """

    def __init__(self, name: str, members: Sequence[str]) -> None:
        super().__init__(name, members)
        self._ways: Final[dict[tuple[ProxyUpstream, ...], Relayed]] = {}

    def check(self) -> None:
        for at, member in enumerate(self.members):
            if not isinstance(member, (Group, ProxyUpstream)) and not _is_direct(member):
                why = f"group {self.name!r} goes through proxies, and {member.name!r} is none"
                raise OptionError(why, "members", at)
        proxies = [member for member in self.members if isinstance(member, ProxyUpstream)]
        if len(proxies) == len(self.members):
            self._way(tuple(proxies))  # what cannot be is said now

    def pick(self, info: FlowInfo) -> Upstream | None:
        hops: list[ProxyUpstream] = []
        plain: Upstream | None = None
        for member in self.members:
            chosen = _chosen(member, info if member is self.members[-1] else _between(info))
            if isinstance(chosen, ProxyUpstream):
                hops.append(chosen)
            elif chosen is not None and _is_direct(chosen):
                plain = chosen
            else:
                return None
        way = self._way(tuple(hops)) if hops else plain
        return way if way is not None and way.carries(info) else None

    def carries(self, info: FlowInfo) -> bool:
        return info.protocol == "tcp" or len(self.members) == 1

    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        try:
            return super().verdict_for(info, why)
        except ConfigError as error:  # groups among the members have chosen proxies that do not fit
            return Verdict(REJECT, self.name, why=str(error))

    def _way(self, hops: tuple[ProxyUpstream, ...]) -> ProxyUpstream:
        if len(hops) == 1:
            return hops[0]
        way = self._ways.get(hops)
        if way is None:
            if len(self._ways) >= MAX_WAYS:
                self._ways.clear()
            way = self._ways[hops] = Relayed(hops)
        return way


def _chosen(member: Upstream, info: FlowInfo) -> Upstream | None:
    """Return the upstream that stands behind a member for this flow."""
    hop: Upstream | None = member
    while isinstance(hop, Group):
        hop = hop.choose_for(info)
    return hop


def _between(info: FlowInfo) -> FlowInfo:
    """Return what a hop is asked to carry that is not the last: TCP to a proxy, whatever the target is."""
    return FlowInfo("tcp", info.client, info.client_port, info.target[:4], info.target_port, info.host)


def _is_direct(upstream: Upstream) -> bool:
    always = upstream.constant()
    return always is not None and always.kind == DIAL and not always.address
