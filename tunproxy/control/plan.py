"""What ``up`` is to do, once it has its device."""

from dataclasses import dataclass
from typing import Final

from tunproxy.control.config.sources import Sources
from tunproxy.control.process import Identity
from tunproxy.control.settings import UpSettings, parse_network
from tunproxy.host import links, sysctl
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6, Interface
from tunproxy.host.changes import Change
from tunproxy.host.kill_switch import KillSwitch, RulesInForce
from tunproxy.host.routes import LANE_TABLE, TABLE, Route
from tunproxy.host.rules import PolicyRules
from tunproxy.host.scope import Scope

IPV6_IS_PAST: Final = "ipv6 goes past us, as net.ipv6.conf.default.disable_ipv6 keeps it from our device"


@dataclass(frozen=True)
class Plan:
    """What is to be done, once the device is there."""

    settings: UpSettings
    identity: Identity
    name: str
    addresses: tuple[Interface, ...]
    sources: Sources
    scope: Scope

    def link(self) -> list[Change]:
        """Return what the link is to be like; whoever routes himself also gives it addresses."""
        addresses = self.addresses if self.settings.routes else ()
        return [
            links.LinkUp(self.name, self.settings.mtu),
            *(links.Address(self.name, each) for each in addresses),
        ]

    def routes(self) -> list[Route]:
        """Return the routes to make; those of a family that the device cannot have are left out."""
        versions = {address.version for address in self.addresses}
        prefixes = [each for each in map(parse_network, self.settings.routes) if each.version in versions]
        return [Route(prefix, self.name, table) for table in self.tables() for prefix in prefixes]

    def tables(self) -> tuple[int, ...]:
        """Return the tables that our rules look into."""
        return (TABLE, LANE_TABLE) if self.scope.has_lane else (TABLE,)

    def rules(self) -> PolicyRules:
        """Return the policy rules; with a kill switch of both families, whether the device can have them."""
        addresses = (TUN_IPV4, TUN_IPV6) if self.settings.capture.kill_switch else self.addresses
        return PolicyRules(self.name, addresses, TABLE, self.identity.uid, self.settings.mark, self.scope)

    def kill_switch(self, rules: RulesInForce | None = None) -> KillSwitch | None:
        """Return the kill switch, None where there is to be none; rules are those in force."""
        if not (self.settings.capture.kill_switch and self.settings.routes):
            return None
        return KillSwitch(self.name, [*map(parse_network, self.settings.routes)], rules or self.rules())

    def start_line(self, worker_line: str) -> str:
        """Return what the user wants to know once everything runs."""
        parts = [worker_line] if worker_line else []
        if self.settings.routes:
            prefixes = " ".join(str(route.prefix) for route in self.routes() if route.table == TABLE)
            parts.append(f"routes {prefixes} in table {TABLE}")
            if len(self.addresses) == 1:
                is_past = links.others_have_ipv6(self.name)
                parts.append(IPV6_IS_PAST if is_past else "no ipv6 on this host")
        else:
            parts.append("no routes of ours")
        if self.kill_switch() is not None:
            parts.append("kill switch on")
        parts.append(f"worker uid {self.identity.uid}")
        if not sysctl.allows_ping(self.identity.gid):
            parts.append(f"no ping (gid {self.identity.gid} is outside of net.ipv4.ping_group_range)")
        return ", ".join(parts)
