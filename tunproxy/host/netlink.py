"""The kernel's network configuration, through pyroute2: the only file that knows that library.

Everything happens in the network namespace in which the Netlink object was made. Numbers and strings
go in and out; pyroute2's messages do not leave this file, and neither do its exceptions.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pyroute2 import IPRoute  # type: ignore[import-untyped]
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

from tunproxy.errors import SystemChangeError
from tunproxy.host.addresses import Interface, Network

MAIN_TABLE: Final = 254  # linux/rtnetlink.h: RT_TABLE_MAIN
RT_SCOPE_UNIVERSE: Final = 0
RT_SCOPE_LINK: Final = 253
IFA_F_NODAD: Final = 0x02  # linux/if_addr.h
FIB_RULE_INVERT: Final = 0x02  # linux/fib_rules.h

PROTOCOL: Final = 119  # our choice: marks our routes and rules as ours (free in /etc/iproute2/rt_protos)

GONE: Final = (errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL)


@dataclass(frozen=True)
class Rule:
    """A policy rule: packets that match all that is set look into table, or go to a later rule.

    Without table and goto it matches and does nothing: a target for goto. Prefixes and interfaces match
    what ``ip rule`` calls from, to and iif; not_iif matches every other interface.
    """

    priority: int
    table: int = 0
    goto: int = 0
    source: Network | None = None
    target: Network | None = None
    iif: str = ""
    not_iif: str = ""
    uid: int = -1
    mark: int = 0
    ignore_default: bool = False  # a default route found in table does not count


class Netlink:
    """A connection to the kernel's routing subsystem; close it, or use it as a context manager.

    Do not fork while one is open: the connection would be shared with the child.
    """

    def __init__(self) -> None:
        self._ipr: Any = IPRoute()  # pyroute2 has no types
        has_ipv6 = os.path.exists("/proc/net/if_inet6")
        self._families = (socket.AF_INET, socket.AF_INET6) if has_ipv6 else (socket.AF_INET,)

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._ipr.close()

    def set_link(self, name: str, *, up: bool, mtu: int | None = None) -> None:
        """Set the state of a link and, when given, its MTU. Raises SystemChangeError."""
        if mtu is not None:
            with _translated(f"cannot set mtu {mtu} on {name}"):
                self._ipr.link("set", index=_index(name), mtu=mtu)
        state = "up" if up else "down"
        with _translated(f"cannot set {name} {state}"):
            self._ipr.link("set", index=_index(name), state=state)

    def add_address(self, name: str, address: Interface) -> None:
        """Give a link an address, usable at once, unless it has it. Raises SystemChangeError."""
        with _translated(f"cannot add {address} to {name}"):
            self._ipr.addr("replace", **_address_fields(name, address))

    def delete_address(self, name: str, address: Interface) -> None:
        """Take an address from a link, if it is there. Raises SystemChangeError."""
        with _translated(f"cannot remove {address} from {name}", ignore=GONE):
            self._ipr.addr("del", **_address_fields(name, address))

    def add_route(self, prefix: Network, name: str, table: int) -> None:
        """Route prefix into a link; replaces another route to prefix in table. Raises SystemChangeError."""
        with _translated(f"cannot route {prefix} into {name}"):
            self._ipr.route("replace", **_route_fields(prefix, name, table))

    def delete_route(self, prefix: Network, name: str, table: int) -> None:
        """Remove a route of ours, if it is there. Raises SystemChangeError."""
        with _translated(f"cannot remove the route {prefix} into {name}", ignore=GONE):
            self._ipr.route("del", **_route_fields(prefix, name, table))

    def count_routes(self, table: int) -> int:
        """Return how many routes table has, over both families. Raises SystemChangeError."""
        with _translated(f"cannot read routing table {table}"):
            return sum(len(self._ipr.get_routes(family=family, table=table)) for family in self._families)

    def add_rule(self, family: int, rule: Rule) -> None:
        """Add a rule unless it is there. Raises SystemChangeError."""
        with _translated(f"cannot add policy rule {rule.priority}", ignore=(errno.EEXIST,)):
            self._ipr.rule("add", **_rule_fields(family, rule))

    def delete_rules(self, priorities: range) -> int:
        """Delete our own rules, of either family, that have such a priority; return how many there were."""
        count = 0
        for family in self._families:
            with _translated("cannot read the policy rules"):
                found = self._ipr.get_rules(family=family)
            ours = [rule.get("priority") for rule in found if rule.get("protocol") == PROTOCOL]
            for priority in (priority for priority in ours if priority in priorities):
                with _translated(f"cannot delete policy rule {priority}", ignore=GONE):
                    self._ipr.rule("del", family=family, priority=priority, protocol=PROTOCOL)
                count += 1
        return count


@contextlib.contextmanager
def _translated(what: str, ignore: tuple[int, ...] = ()) -> Iterator[None]:
    """Turn errors of pyroute2 and the kernel into SystemChangeError; swallow those to ignore."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in ignore:
            raise SystemChangeError(f"{what}: {_why(error.code)}") from error
    except OSError as error:
        if error.errno not in ignore:
            raise SystemChangeError(f"{what}: {_why(error.errno or 0)}") from error


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError as error:  # it comes without a number that tells why
        raise OSError(errno.ENODEV, "no such device") from error


# Any, here and below: the arguments of one pyroute2 call, numbers and strings, each key its own.
def _address_fields(name: str, address: Interface) -> dict[str, Any]:
    return {
        "index": _index(name),
        "family": _family(address),
        "address": str(address.ip),
        "prefixlen": address.network.prefixlen,
        **({"flags": IFA_F_NODAD} if address.version == 6 else {}),
    }


def _route_fields(prefix: Network, name: str, table: int) -> dict[str, Any]:
    return {
        "family": _family(prefix),
        "dst": str(prefix),
        "oif": _index(name),
        "table": table,
        "proto": PROTOCOL,
        "scope": RT_SCOPE_LINK if prefix.version == 4 else RT_SCOPE_UNIVERSE,
    }


def _rule_fields(family: int, rule: Rule) -> dict[str, Any]:
    fields: dict[str, Any] = {"family": family, "priority": rule.priority, "protocol": PROTOCOL}
    if rule.goto:
        fields |= {"action": "goto", "goto": rule.goto}
    elif rule.table:
        fields |= {"table": rule.table}
    else:
        fields |= {"action": "nop"}
    if rule.source is not None:
        fields |= {"src": str(rule.source.network_address), "src_len": rule.source.prefixlen}
    if rule.target is not None:
        fields |= {"dst": str(rule.target.network_address), "dst_len": rule.target.prefixlen}
    if rule.iif:
        fields |= {"iifname": rule.iif}
    if rule.not_iif:
        fields |= {"iifname": rule.not_iif, "flags": FIB_RULE_INVERT}
    if rule.uid >= 0:
        fields |= {"uid_range": f"{rule.uid}:{rule.uid}"}
    if rule.mark:
        fields |= {"fwmark": rule.mark, "fwmask": 0xFFFF_FFFF}
    if rule.ignore_default:
        fields |= {"suppress_prefixlen": 0}
    return fields


def _family(address: Interface | Network) -> int:
    return socket.AF_INET6 if address.version == 6 else socket.AF_INET


def _why(code: int) -> str:
    if code in (errno.EPERM, errno.EACCES):
        return "not permitted (needs CAP_NET_ADMIN: run as root)"
    return os.strerror(code).lower()
