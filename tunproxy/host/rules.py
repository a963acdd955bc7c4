"""The policy rules that send this host's traffic into our table, and keep our own traffic out of it.

    7770  what came out of the TUN, what the worker sends, what others have marked   -> 7779
    7771  multicast, broadcast, link-local, and what is not to be captured (scope)   -> 7779
    7772  a route in main that leads to a network, and not everywhere     : those we are connected to
    7773  from the TUN's own address                                      -> our table
    7774  from here, with no source address chosen yet                    -> 7776
    7775  from here                                                       -> 7779
    7776  (nothing), and port 53                                          -> our table
    7777  from here, or from containers and networks we route for         -> our table, or the lane's
    7779  (nothing: where the exceptions go on)
    32766 main

Packets from here that have chosen another source address go on with ``main``. Those are the answers of
this host's servers, which would never reach their clients through a proxy; packets of sockets bound to an
interface's address; the kernel's own resets and last acknowledgements for the worker's connections, which
do not carry the worker's uid; and the kernel's check that an answer to the worker came in where its route
goes out (rp_filter).

Where we answer port 53, 7772 does not look at it: nobody would see what a resolver on a connected network is
asked. 7776 has it where the lane has a table of its own (``routes``).

Others' marks are those that others' rules ask for: who marks packets to route them, as WireGuard does with
those of its tunnel, routes them himself. The mark of wg-quick is known without its rules.

The exceptions do not look into ``main`` but skip our rules: whatever else the host's administrator has
set up holds for them, and a family without a default route in ``main`` does not fall back into the TUN.

There is no unreachable rule. Left over after a crash, these rules lead into an empty table and out of it
again; the next start replaces them. Rules of one priority do not depend on their order.
"""

import contextlib
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import ClassVar, Final

from tunproxy.host.addresses import Interface, Network
from tunproxy.host.cgroups import EXCLUDED, INCLUDED
from tunproxy.host.changes import Change
from tunproxy.host.netlink import MAIN_TABLE, Netlink, Rule
from tunproxy.host.routes import LANE_TABLE
from tunproxy.host.rule_messages import ALL_BITS
from tunproxy.host.scope import Scope
from tunproxy.host.sock_diag import unix_socket_user

# our choices; others: wg-quick 32764 and up, tailscale 5210 to 5270, sing-box 9000 to 9010, systemd 32765
FIRST: Final = 7770
LAST: Final = 7779
PRIORITIES: Final = range(FIRST, LAST + 1)

MAX_LOOKS: Final = 8
_NAME: Final = "tunproxy/table/"  # of the socket that a claim is
ANSWER: Final = 0x0400_0000  # a bit of the mark, beside those of ``cgroups``: see ``answer_marks``
LOOPBACK: Final = "lo"  # what this host sends comes from there, to the rules
DNS_PORT: Final = 53
WIREGUARD_MARK: Final = (51_820, ALL_BITS)  # wg-quick(8), "Table": its first choice; NetworkManager's, too

GROUPS: Final[dict[int, tuple[Network, ...]]] = {
    4: (
        IPv4Network("224.0.0.0/4"),  # RFC 5771
        IPv4Network("255.255.255.255/32"),  # RFC 919
        IPv4Network("169.254.0.0/16"),  # RFC 3927 §7: never beyond the link
    ),
    6: (IPv6Network("ff00::/8"), IPv6Network("fe80::/10")),  # RFC 4291 §2.7, §2.5.6
}
# The kernel finds an IPv4 packet with no source yet by "from 0.0.0.0"; for IPv6 such a rule never matches
# it, so there we send the others, both halves of the address space, out of the way.
_NO_SOURCE_IPV4: Final = IPv4Network("0.0.0.0/32")
_HALVES_IPV6: Final = (IPv6Network("::/1"), IPv6Network("8000::/1"))


@dataclass(frozen=True)
class PolicyRules(Change):
    """All that is not an exception looks into table first.

    addresses are the TUN's own, and say which families are meant. The worker's packets are known by mark,
    or by uid where mark is 0. scope says what is captured.
    """

    what: ClassVar[str] = "policy rules"
    name: str
    addresses: tuple[Interface, ...]
    table: int
    uid: int
    mark: int = 0
    scope: Scope = Scope()  # noqa: RUF009  # a Scope never changes

    def apply(self, net: Netlink) -> None:
        """Make our rules these; what is right stays, and what is wrong goes when the right is there.

        So there is no moment in which packets go past us. The marks of others are looked up each time.
        """
        self._put(net)

    def mend(self, net: Netlink) -> bool:
        return self._put(net)

    def _put(self, net: Netlink) -> bool:
        """Do it; return whether a rule was missing that does not come from others' marks."""
        marks = net.foreign_marks()
        was_missing = False
        for family in net.families:
            version = 6 if family == socket.AF_INET6 else 4
            wanted = [
                rule for address in self.addresses if address.version == version
                for rule in self.rules(address, marks)
            ]  # fmt: skip
            # Asked to delete a rule, the kernel takes the first one that has what is named, whatever else it
            # has: so we look again until all is as it should be.
            for _ in range(MAX_LOOKS):
                there = net.rules(family, PRIORITIES)
                missing = [rule for rule in wanted if rule not in there]
                wrong = [rule for rule in there if rule not in wanted]
                if not missing and not wrong:
                    break
                was_missing |= any((rule.mark, rule.mask or ALL_BITS) not in marks for rule in missing)
                # The last first: it is the target of the others, and no packet may meet a rule that leads
                # into the table before the exceptions in front of it are there.
                for rule in sorted(missing, key=lambda rule: (self._captures(rule), -rule.priority)):
                    net.add_rule(family, rule)
                for rule in sorted(wrong, key=lambda rule: not self._captures(rule)):
                    net.delete_rule(family, rule)
        return was_missing

    def revert(self, net: Netlink) -> None:
        net.delete_rules(PRIORITIES)

    def rules(self, address: Interface, marks: Iterable[tuple[int, int]] = ()) -> list[Rule]:
        """Return the rules of the family of address, one of the TUN's own, in the kernel's order.

        marks are those that rules of others ask for.
        """
        ours = Rule(FIRST, goto=LAST, mark=self.mark) if self.mark else Rule(FIRST, goto=LAST, uid=self.uid)
        rules = [Rule(FIRST, goto=LAST, iif=self.name), ours]
        others = {WIREGUARD_MARK, *marks, *self.scope.marks} - {(self.mark, ALL_BITS)}
        rules += [
            Rule(FIRST, goto=LAST, mark=mark, mask=mask % ALL_BITS) for mark, mask in sorted(others)
        ]  # to a Rule, 0 is all bits
        rules += self._exceptions(address.version)
        rules += self._connected(address.version)
        rules += [Rule(FIRST + 3, table=self.table, iif=LOOPBACK, source=ip_network(address.ip))]
        if address.version == 4:
            rules += [
                Rule(FIRST + 4, goto=FIRST + 6, iif=LOOPBACK, source=_NO_SOURCE_IPV4),
                Rule(FIRST + 5, goto=LAST, iif=LOOPBACK),
            ]
        else:
            rules += [Rule(FIRST + 4, goto=LAST, iif=LOOPBACK, source=half) for half in _HALVES_IPV6]
        return [*rules, *self._rest(), Rule(LAST)]

    def _exceptions(self, version: int) -> list[Rule]:
        """Return the rules for what is not to be captured."""
        scope = self.scope
        # A rule about every target is to the kernel one about none, and there already, beside others here.
        excluded = [
            part
            for prefix in scope.excluded if prefix.version == version
            for part in (prefix.subnets() if prefix.prefixlen == 0 else (prefix,))
        ]  # fmt: skip
        rules = [Rule(FIRST + 1, goto=LAST, target=prefix) for prefix in (*GROUPS[version], *excluded)]
        if not scope.forwarded:
            rules += [Rule(FIRST + 1, goto=LAST, not_iif=LOOPBACK)]
        rules += [Rule(FIRST + 1, goto=LAST, iif=name) for name in scope.excluded_interfaces]
        rules += [
            Rule(FIRST + 1, goto=LAST, iif=LOOPBACK, uid=first, last_uid=last if last > first else -1)
            for first, last in scope.users_left_alone()
        ]
        if scope.spares_answers:
            rules += [Rule(FIRST + 1, goto=LAST, mark=ANSWER, mask=ANSWER)]
        if scope.spares_cgroups:
            rules += [Rule(FIRST + 1, goto=LAST, iif=LOOPBACK, mark=EXCLUDED, mask=EXCLUDED)]
        if scope.only_cgroups:
            rules += [Rule(FIRST + 1, goto=LAST, iif=LOOPBACK, mask=INCLUDED)]
        return rules

    def _connected(self, version: int) -> list[Rule]:
        """Return the rules for networks that we are connected to."""
        if not self.scope.dns:
            return [Rule(FIRST + 2, table=MAIN_TABLE, ignore_default=True)]
        spared = [each for each in self.scope.dns_except if each.version == version]
        # Where a rule about ports is about what this host sends, the kernel need not take every packet that
        # comes in apart to ask it (fib_rule_requires_fldissect). What it forwards has left by now.
        iif = "" if self.scope.forwarded else LOOPBACK
        return [
            Rule(FIRST + 2, table=MAIN_TABLE, ignore_default=True, not_port=DNS_PORT, not_iif=iif),
            *(
                Rule(
                    FIRST + 2,
                    table=MAIN_TABLE,
                    ignore_default=True,
                    port=DNS_PORT,
                    target=ip_network(each),
                    iif=iif,
                )
                for each in spared
            ),
        ]

    def _rest(self) -> list[Rule]:
        """Return the rules for what nothing before has found: it is captured."""
        scope = self.scope
        has_all = scope.forwarded and not scope.interfaces
        sources = [""] if has_all else [LOOPBACK, *(scope.interfaces if scope.forwarded else ())]
        table = LANE_TABLE if scope.has_lane else self.table
        # There always is a target for the goto of 7774: to the kernel rules that differ only in where they
        # lead are the same, and one could not take the other's place.
        rules = [Rule(FIRST + 6)]
        if table != self.table and scope.dns:
            rules += [Rule(FIRST + 6, table=self.table, iif=iif, port=DNS_PORT) for iif in sources]
        return rules + [Rule(FIRST + 7, table=table, iif=iif) for iif in sources]

    def _captures(self, rule: Rule) -> bool:
        return rule.table in (self.table, LANE_TABLE)


class TableClaim:
    """The right to use our table and rules in this network namespace, held by one process at a time.

    It is an abstract Unix socket: its names belong to the network namespace, and it vanishes with the
    process, by whatever signal that ends. A process that is forked must let go of its copy. Everybody may
    bind such a name: who is neither root nor who we are has no right by it, and keeps nobody out.
    """

    def __init__(self) -> None:
        self.squatter = -1  # the user who has bound our name without any right, if there is one
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def take(self, table: int) -> bool:
        """Return whether the right is ours now."""
        try:
            self._socket.bind(f"\0{_NAME}{table}")
        except OSError:
            with contextlib.suppress(OSError):
                self.squatter = _squatter(_inode(table))
            return self.squatter >= 0
        return True

    @staticmethod
    def is_taken(table: int) -> bool:
        """Tell whether somebody has it, without taking it. Raises OSError."""
        inode = _inode(table)
        return inode > 0 and _squatter(inode) < 0

    def give_up(self) -> None:
        """Let others have it."""
        self._socket.close()


def _inode(table: int) -> int:
    """Return that of the socket that a table's claim is, 0 for none (/proc/net/unix). Raises OSError."""
    with open("/proc/net/unix", encoding="ascii", errors="replace") as sockets:
        found = [line.split() for line in sockets if line.rstrip("\n").endswith(f"@{_NAME}{table}")]
    return next((int(words[6]) for words in found if words[7:] == [f"@{_NAME}{table}"]), 0)


def _squatter(inode: int) -> int:
    """Return who has made the socket of a claim and may not, -1 for nobody, or where it cannot be told."""
    uid = unix_socket_user(inode) if inode else -1
    return uid if uid not in (0, os.geteuid()) else -1
