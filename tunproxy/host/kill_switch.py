"""The kill switch: nothing leaves this host but through us, also when we have been killed.

    routes      in our table, what goes into the TUN is unreachable besides, by a route of the worst metric.
                The TUN's own route is better while there is a TUN; when that is gone, programs learn at once
                that nothing can be reached. What containers send, where that is captured, ends here as well.
    nftables    a table that stays. What leaves by another link than the TUN is refused, unless it is

        the worker's                                    what has gone through us
        of a user, or with a mark, that is left alone   as the policy rules have it
        to a target that is left alone, a group, or a neighbour of the link (RFC 4861), or DHCP
        to a network that ``main`` knows a better way to than a default route: those we are connected to,
        but for port 53 where we answer that

The routes alone would not do: who binds a socket to an address or an interface goes past the policy rules,
which must let through the answers of servers, and the kernel's own packets for the worker's connections.
These are told apart here by the connection that they belong to (a bit of the mark of conntrack), as a socket
that was closed has no user any more while the kernel still sends what was left in it.

While we live, ``mend`` keeps the table in step with the networks that we are connected to. What was there
when we were killed stays: a network that this host is connected to only later is refused until we run again.
"""

import socket
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, Protocol

from tunproxy.errors import SystemChangeError
from tunproxy.host import privileges
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6, Interface, Network
from tunproxy.host.changes import Change
from tunproxy.host.netlink import Netlink, Rule
from tunproxy.host.nft import NftTable, delete_table, has_table
from tunproxy.host.routes import TABLE
from tunproxy.host.rules import DNS_PORT, LAST, LOOPBACK

# our choices
NAME: Final = "tunproxy_kill_switch"
STOPPED: Final = "stopped"  # the counter of packets that were refused
BIT: Final = 0x0800_0000  # of a connection's mark

_DHCP: Final = (
    "udp sport 68 udp dport 67 accept",  # RFC 2131 §4.1
    "udp sport 546 udp dport 547 accept",  # RFC 9915 §7.2
)
_NEIGHBOURS: Final = (
    "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept",  # RFC 4861
)


class RulesInForce(Protocol):
    """Knows the policy rules of the family of one of the TUN's addresses; they may change."""

    def rules(self, address: Interface, marks: Iterable[tuple[int, int]] = ()) -> list[Rule]: ...


class KillSwitch(Change):
    """prefixes are what goes into the TUN called name, and rules are the policy rules."""

    what: ClassVar[str] = "the kill switch"
    is_of_firewall: ClassVar[bool] = True

    def __init__(self, name: str, prefixes: Sequence[Network], rules: RulesInForce) -> None:
        self._name: Final = name
        self._prefixes: Final = tuple(prefixes)
        self._rules: Final = rules
        self._content = ""  # of the table, as we made it last
        self._stopped = 0  # packets that were refused, before it was made anew

    @property
    def stopped(self) -> int:
        """How many packets have been refused in this run, as of the last look."""
        return self._stopped

    def apply(self, net: Netlink) -> None:
        """Raises SystemChangeError, also where nftables cannot be used: half a kill switch is none."""
        try:
            self._make(net)
        except SystemChangeError as error:
            raise SystemChangeError(f"cannot hold the kill switch: {error}") from error

    def mend(self, net: Netlink) -> bool:
        missing = set(self._prefixes_of(net)) - set(net.unreachable(TABLE))
        table = NftTable(NAME, is_owned=False)
        try:
            try:
                self._stopped = max(self._stopped, table.counters().get(STOPPED, 0))
                is_there = True
            except SystemChangeError:
                is_there = False
            if missing or not is_there or self._wanted(net) != self._content:
                self._make(net)
        finally:
            table.close()
        return bool(missing) or not is_there

    def revert(self, net: Netlink) -> None:
        lift(net)

    def _make(self, net: Netlink) -> None:
        for prefix in self._prefixes_of(net):
            net.add_unreachable(prefix, TABLE)
        net.delete_unreachable(TABLE, keep=self._prefixes)  # of an earlier run
        content = self._wanted(net)
        table = NftTable(NAME, is_owned=False)
        try:
            table.apply(content)
        finally:
            table.close()
        self._content = content

    def _prefixes_of(self, net: Netlink) -> list[Network]:
        """Return those of the families that this kernel has."""
        versions = {6 if family == socket.AF_INET6 else 4 for family in net.families}
        return [prefix for prefix in self._prefixes if prefix.version in versions]

    def _wanted(self, net: Netlink) -> str:
        marks = net.foreign_marks()
        rules: dict[int, list[Rule]] = {
            each.version: self._rules.rules(each, marks) for each in (TUN_IPV4, TUN_IPV6)
        }  # whether or not the TUN has them: what goes past it must not leave
        return content(self._name, self._prefixes, rules, net.near_prefixes(), self._stopped)


def content(
    tun: str,
    prefixes: Iterable[Network],
    rules: dict[int, list[Rule]],
    near: Iterable[Network],
    stopped: int = 0,
) -> str:
    """Return what the table holds: rules of each IP version, and near, the networks we are connected to."""
    lines = [
        f"counter {STOPPED} {{ packets {stopped} bytes 0 }}",
        "chain output {",
        "type filter hook output priority filter + 10; policy accept;",
        f'oifname {{ "{LOOPBACK}", "{tun}" }} accept',
        f"ct mark and {BIT:#x} == {BIT:#x} accept",
    ]
    all_rules = list(dict.fromkeys(rule for each in rules.values() for rule in each))
    lines += [line for rule in all_rules for line in _exception(rule)]
    lines += [*_DHCP, *_NEIGHBOURS]
    lines += _not_captured(prefixes)
    lines += _connected(all_rules, near)
    lines += [f"counter name {STOPPED} reject with icmpx type admin-prohibited", "}"]
    return "\n".join(lines)


def is_held(net: Netlink) -> bool:
    """Tell whether there is a kill switch, of ours or of one that was killed. Raises SystemChangeError."""
    return bool(net.unreachable(TABLE)) or _has_table()


def lift(net: Netlink) -> bool:
    """Undo a kill switch, whoever made it; return whether there was one. Raises SystemChangeError.

    libnftables, by which it was made, may be gone meanwhile.
    """
    was_held = _has_table()
    if was_held:
        delete_table(NAME)
    return net.delete_unreachable(TABLE) > 0 or was_held


def _has_table() -> bool:
    """Tell whether the table is there; without nftables there is none, and who may not look is not told."""
    return privileges.has_capabilities(privileges.CAP_NET_ADMIN) and has_table(NAME)


def _exception(rule: Rule) -> list[str]:
    """Return the lines that let through what a policy rule lets go past the TUN."""
    if rule.goto != LAST or rule.not_iif or rule.source is not None or rule.iif not in ("", LOOPBACK):
        return []  # about what is forwarded, or what has chosen its source
    if rule.target is not None:
        family = "ip6" if rule.target.version == 6 else "ip"
        return [f"{family} daddr {rule.target} accept"]
    keep = f"ct mark set ct mark or {BIT:#x} accept"
    if rule.uid >= 0:
        return [f"meta skuid {rule.uid}-{max(rule.uid, rule.last_uid)} {keep}"]
    if rule.mark or rule.mask:
        return [f"meta mark and {rule.mask or 0xFFFF_FFFF:#x} == {rule.mark:#x} {keep}"]
    return []


def _not_captured(prefixes: Iterable[Network]) -> list[str]:
    """Return the lines that let through what is not to go into the TUN at all."""
    lines = []
    for version, family, protocol in ((4, "ip", "ipv4"), (6, "ip6", "ipv6")):
        captured = [str(each) for each in prefixes if each.version == version]
        if not captured:
            lines.append(f"meta nfproto {protocol} accept")
        elif not any(each.endswith("/0") for each in captured):
            lines.append(f"{family} daddr != {{ {', '.join(captured)} }} accept")
    return lines


def _connected(rules: Iterable[Rule], near: Iterable[Network]) -> list[str]:
    """Return the lines that let through what goes to networks that we are connected to."""
    lines = []
    looks = [rule for rule in rules if rule.ignore_default]
    if any(rule.not_port == DNS_PORT for rule in looks):
        spared = [rule.target for rule in looks if rule.port == DNS_PORT and rule.target is not None]
        lines += [
            f"{'ip6' if each.version == 6 else 'ip'} daddr {each} th dport {DNS_PORT} accept"
            for each in spared
        ]
        lines.append(
            f"meta l4proto {{ tcp, udp }} th dport {DNS_PORT} counter name {STOPPED} "
            "reject with icmpx type admin-prohibited"
        )
    for version, family in ((4, "ip"), (6, "ip6")):
        found = [str(each) for each in near if each.version == version]
        if found:
            lines.append(f"{family} daddr {{ {', '.join(found)} }} accept")
    return lines
