"""The policy rules that send this host's traffic into our table, and keep our own traffic out of it.

    7770  what came out of the TUN, and what the worker sends            -> 7779
    7771  multicast and broadcast                                        -> 7779
    7772  a route in main that is better than a default route             : networks we are connected to
    7773  from the TUN's own address                                     -> our table
    7774  from here, with no source address chosen yet                   -> our table
    7775  from elsewhere: containers and networks we route for           -> our table
    7779  (nothing: where the exceptions go on)
    32766 main

Packets from here that have chosen another source address go on with ``main``. Those are the answers of
this host's servers, which would never reach their clients through a proxy; packets of sockets bound to an
interface's address; the kernel's own resets and last acknowledgements for the worker's connections, which
do not carry the worker's uid; and the kernel's check that an answer to the worker came in where its route
goes out (rp_filter).

The exceptions do not look into ``main`` but skip our rules: whatever else the host's administrator has
set up holds for them, and a family without a default route in ``main`` does not fall back into the TUN.

There is no unreachable rule. Left over after a crash, these rules lead into an empty table and out of it
again; the next start replaces them.
"""

import os
import socket
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from tunproxy.host.addresses import Interface, Network
from tunproxy.host.changes import Change
from tunproxy.host.netlink import MAIN_TABLE, Netlink, Rule

# our choices; others: wg-quick 32764 and up, tailscale 5210 to 5270, sing-box 9000 to 9010, systemd 32765
FIRST: Final = 7770
LAST: Final = 7779
PRIORITIES: Final = range(FIRST, LAST + 1)

_GROUPS: Final[dict[int, tuple[Network, ...]]] = {
    4: (IPv4Network("224.0.0.0/4"), IPv4Network("255.255.255.255/32")),  # RFC 5771, RFC 919
    6: (IPv6Network("ff00::/8"),),  # RFC 4291 §2.7
}
# The kernel finds an IPv4 packet with no source yet by "from 0.0.0.0"; for IPv6 such a rule never matches
# it, so there we send the others, both halves of the address space, out of the way.
_NO_SOURCE_IPV4: Final = IPv4Network("0.0.0.0/32")
_HALVES_IPV6: Final = (IPv6Network("::/1"), IPv6Network("8000::/1"))


@dataclass(frozen=True)
class PolicyRules(Change):
    """All that is not an exception looks into table first.

    addresses are the TUN's own, and say which families are meant. The worker's packets are known by mark,
    or by uid where mark is 0.
    """

    name: str
    addresses: tuple[Interface, ...]
    table: int
    uid: int
    mark: int = 0

    def apply(self, net: Netlink) -> None:
        net.delete_rules(PRIORITIES)
        for address in self.addresses:
            family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
            # The last first: it is the target of the others, and no packet may meet a rule that leads
            # into the table before the exceptions in front of it are there.
            rules = self.rules(address)
            for rule in sorted(rules, key=lambda rule: (rule.table == self.table, -rule.priority)):
                net.add_rule(family, rule)

    def revert(self, net: Netlink) -> None:
        net.delete_rules(PRIORITIES)

    def rules(self, address: Interface) -> list[Rule]:
        """Return the rules of the family of address, one of the TUN's own, in the kernel's order."""
        ours = Rule(FIRST, goto=LAST, mark=self.mark) if self.mark else Rule(FIRST, goto=LAST, uid=self.uid)
        rules = [Rule(FIRST, goto=LAST, iif=self.name), ours]
        rules += [Rule(FIRST + 1, goto=LAST, target=group) for group in _GROUPS[address.version]]
        rules += [Rule(FIRST + 2, table=MAIN_TABLE, ignore_default=True)]
        rules += [Rule(FIRST + 3, table=self.table, iif="lo", source=ip_network(address.ip))]
        if address.version == 4:
            rules += [
                Rule(FIRST + 4, table=self.table, iif="lo", source=_NO_SOURCE_IPV4),
                Rule(FIRST + 5, table=self.table, not_iif="lo"),
            ]
        else:
            rules += [Rule(FIRST + 4, goto=LAST, iif="lo", source=half) for half in _HALVES_IPV6]
            rules += [Rule(FIRST + 5, table=self.table)]
        return [*rules, Rule(LAST)]


class TableClaim:
    """The right to use our table and rules in this network namespace, held by one process at a time.

    It is an abstract Unix socket: its names belong to the network namespace, and it vanishes with the
    process, by whatever signal that ends.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def take(self, table: int) -> bool:
        """Return whether the right is ours now."""
        try:
            self._socket.bind(f"\0tunproxy/table/{table}")
        except OSError:
            return False
        return True

    def forget(self) -> None:
        """Close our copy in a forked process, which must not hold on to the right."""
        os.close(self._socket.detach())

    def give_up(self) -> None:
        """Let others have it."""
        self._socket.close()
