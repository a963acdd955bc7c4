"""The kernel's network configuration, through pyroute2.

Everything happens in the network namespace in which the Netlink object was made. Numbers and strings go in
and out, also where whole tables are read by a quicker way (``route_dump``). What pyroute2 wants to be told is
in ``route_messages`` and ``rule_messages``; its exceptions do not leave this file.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, Final

from tunproxy.errors import SystemChangeError
from tunproxy.host.addresses import Interface, Network
from tunproxy.host.pyroute import NLM_F_ACK, NLM_F_REQUEST, RTM_GETROUTE, IPRoute, NetlinkError
from tunproxy.host.route_dump import RouteReader
from tunproxy.host.route_messages import (
    address_fields,
    family_of,
    route_fields,
    route_question,
    unreachable_fields,
)
from tunproxy.host.rule_messages import (
    ALL_BITS,
    DEFAULT_LENGTH,
    FR_ACT_TO_TBL,
    PROTOCOL,
    rule_fields,
    rule_of,
)
from tunproxy.host.rule_messages import Rule as Rule

MAIN_TABLE: Final = 254  # linux/rtnetlink.h: RT_TABLE_MAIN
LOCAL_TABLE: Final = 255  # RT_TABLE_LOCAL
RTN_UNICAST: Final = 1
RTN_LOCAL: Final = 2
RTN_UNREACHABLE: Final = 7
IFF_UP: Final = 0x1  # linux/if.h

GONE: Final = (errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL)
NO_WAY: Final = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, *GONE)


@dataclass(frozen=True)
class Way:
    """How packets leave this host: by which link, through which router ("" for none), from which address."""

    link: str
    gateway: str
    source: str


class Netlink:
    """A connection to the kernel's routing subsystem; close it, or use it as a context manager.

    Do not fork while one is open: the connection would be shared with the child.
    """

    def __init__(self) -> None:
        with _translated("cannot ask the kernel for the network configuration"):
            self._reader: Final = RouteReader()
            self._ipr: Any = IPRoute()  # pyroute2 has no types
        self._ipr.status["nlm_generator"] = False  # pyroute2 0.9.7's nlm_request misses its own default
        has_ipv6 = os.path.exists("/proc/net/if_inet6")
        self.families: Final = (socket.AF_INET, socket.AF_INET6) if has_ipv6 else (socket.AF_INET,)

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._reader.close()
        self._ipr.close()

    def set_link(self, name: str, *, up: bool, mtu: int | None = None) -> None:
        """Set the state of a link and, when given, its MTU. Raises SystemChangeError."""
        if mtu is not None:
            with _translated(f"cannot set mtu {mtu} on {name}"):
                self._ipr.link("set", index=_index(name), mtu=mtu)
        state = "up" if up else "down"
        with _translated(f"cannot set {name} {state}"):
            self._ipr.link("set", index=_index(name), state=state)

    def set_queue_length(self, name: str, packets: int) -> None:
        """Set how many packets may wait in a link to be sent. Raises SystemChangeError."""
        with _translated(f"cannot have {packets} packets wait in {name}"):
            self._ipr.link("set", index=_index(name), txqlen=packets)

    def is_up(self, name: str) -> bool:
        """Tell whether a link is up, as far as its administrator is concerned. Raises SystemChangeError."""
        with _translated(f"cannot look at {name}"):
            return bool(self._ipr.get_links(_index(name))[0]["flags"] & IFF_UP)

    def has_address(self, name: str, address: Interface) -> bool:
        """Tell whether a link has an address. Raises SystemChangeError."""
        with _translated(f"cannot read the addresses of {name}"):
            found = self._ipr.get_addr(family=family_of(address), index=_index(name))
        return any(each.get("address") == str(address.ip) for each in found)

    def add_address(self, name: str, address: Interface) -> None:
        """Give a link an address, usable at once, unless it has it. Raises SystemChangeError."""
        with _translated(f"cannot add {address} to {name}"):
            self._ipr.addr("replace", **address_fields(_index(name), address))

    def delete_address(self, name: str, address: Interface) -> None:
        """Take an address from a link, if it is there. Raises SystemChangeError."""
        with _translated(f"cannot remove {address} from {name}", ignore=GONE):
            self._ipr.addr("del", **address_fields(_index(name), address))

    def add_route(self, prefix: Network, name: str, table: int) -> None:
        """Route prefix into a link; replaces another route to prefix in table. Raises SystemChangeError."""
        with _translated(f"cannot route {prefix} into {name}"):
            self._ipr.route("replace", **route_fields(prefix, _index(name), table))

    def delete_route(self, prefix: Network, name: str, table: int) -> None:
        """Remove a route of ours, if it is there. Raises SystemChangeError."""
        with _translated(f"cannot remove the route {prefix} into {name}", ignore=GONE):
            self._ipr.route("del", **route_fields(prefix, _index(name), table))

    def count_routes(self, table: int) -> int:
        """Return how many routes table has, over both families. Raises SystemChangeError."""
        with _translated(f"cannot read routing table {table}"):
            return sum(len(self._reader.read(family, table)) for family in self.families)

    def has_route(self, prefix: Network, name: str, table: int) -> bool:
        """Tell whether prefix is routed into a link by table. Raises SystemChangeError."""
        with _translated(f"cannot read routing table {table}"):
            index = _index(name)
            found = self._reader.read(family_of(prefix), table, index)
        return any(each.prefix == prefix for each in found)

    def add_unreachable(self, prefix: Network, table: int) -> None:
        """Have prefix be unreachable by table where no other route to it is. Raises SystemChangeError."""
        with _translated(f"cannot make {prefix} unreachable", ignore=(errno.EEXIST,)):
            self._ipr.route("add", **unreachable_fields(prefix, table))

    def delete_unreachable(self, table: int, keep: Container[Network] = ()) -> int:
        """Undo every add_unreachable but for keep; return how many it were. Raises SystemChangeError."""
        count = 0
        for prefix in (each for each in self.unreachable(table) if each not in keep):
            with _translated(f"cannot make {prefix} reachable again", ignore=GONE):
                self._ipr.route("del", **unreachable_fields(prefix, table))
            count += 1
        return count

    def unreachable(self, table: int) -> list[Network]:
        """Return what add_unreachable has been called for. Raises SystemChangeError."""
        found: list[Network] = []
        with _translated(f"cannot read routing table {table}"):
            for family in self.families:
                routes = self._reader.read(family, table)
                ours = [each for each in routes if each.protocol == PROTOCOL]
                found += [each.prefix for each in ours if each.kind == RTN_UNREACHABLE]
        return found

    def is_in_use(self, table: int) -> bool:
        """Tell whether table has others than those of unreachable: routes into a device go with its process.

        Raises SystemChangeError.
        """
        return self.count_routes(table) > len(self.unreachable(table))

    def local_prefixes(self) -> list[Network]:
        """Return all addresses of this host, with those of the loopback. Raises SystemChangeError."""
        return self._prefixes(LOCAL_TABLE, RTN_LOCAL)

    def near_prefixes(self) -> list[Network]:
        """Return what main knows a better way to than a default route. Raises SystemChangeError.

        Half of everything is none of these (DEFAULT_LENGTH).
        """
        found = self._prefixes(MAIN_TABLE, RTN_UNICAST)
        return [each for each in found if each.prefixlen > DEFAULT_LENGTH[family_of(each)]]

    def _prefixes(self, table: int, kind: int) -> list[Network]:
        with _translated(f"cannot read routing table {table}"):
            routes = [
                each
                for family in self.families
                for each in self._reader.read(family, table)
                if each.kind == kind
            ]
        return list(dict.fromkeys(each.prefix for each in routes))

    def way_to(
        self, target: str, *, uid: int = -1, mark: int = 0, protocol: int = 0, port: int = 0
    ) -> Way | None:
        """Return how packets to target leave, None where none can. Raises SystemChangeError.

        Whose packets, with which mark, and to which port matters where policy rules ask for it.
        """
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        if family not in self.families:
            return None
        given = {"uid": uid if uid >= 0 else None, "mark": mark, "ip_proto": protocol, "dport": port}
        fields = {name: value for name, value in given.items() if value or (name == "uid" and value == 0)}
        question = route_question(family, target, **fields)
        try:
            with _translated(f"cannot ask for the way to {target}"):
                found = [*self._ipr.nlm_request(question, RTM_GETROUTE, NLM_F_REQUEST | NLM_F_ACK)]
        except SystemChangeError as error:
            cause = error.__cause__
            code = cause.code if isinstance(cause, NetlinkError) else getattr(cause, "errno", None)
            if code in NO_WAY:
                return None
            raise
        for each in found:
            if each["type"] == RTN_UNICAST and each.get("oif"):
                with contextlib.suppress(OSError):  # it has gone in this moment
                    name = socket.if_indextoname(each.get("oif"))
                    return Way(name, str(each.get("gateway") or ""), str(each.get("prefsrc") or ""))
        return None

    def add_rule(self, family: int, rule: Rule) -> bool:
        """Add a rule unless it is there; return whether it was missing. Raises SystemChangeError."""
        try:
            with _translated(f"cannot add policy rule {rule.priority}"):
                self._ipr.rule("add", **rule_fields(family, rule))
        except SystemChangeError as error:
            if isinstance(error.__cause__, NetlinkError) and error.__cause__.code == errno.EEXIST:
                return False
            raise
        return True

    def delete_rule(self, family: int, rule: Rule) -> None:
        """Delete one of our rules, if it is there. Raises SystemChangeError."""
        with _translated(f"cannot delete policy rule {rule.priority}", ignore=GONE):
            self._ipr.rule("del", **rule_fields(family, rule))

    def rules(self, family: int, priorities: range) -> list[Rule]:
        """Return our own rules of a family that have such a priority, in the kernel's order.

        Raises SystemChangeError.
        """
        found = [rule for rule in self._rules(family) if rule.get("protocol") == PROTOCOL]
        return [rule_of(rule) for rule in found if rule.get("priority") in priorities]

    def foreign_rules(self, family: int) -> list[Rule]:
        """Return the rules of others, in the kernel's order. Raises SystemChangeError."""
        return [rule_of(rule) for rule in self._rules(family) if rule.get("protocol") != PROTOCOL]

    def foreign_marks(self) -> set[tuple[int, int]]:
        """Return mark and mask of the rules of others that ask for a mark. Raises SystemChangeError."""
        found = set()
        for family in self.families:
            for rule in self._rules(family):
                mark, mask = rule.get("fwmark") or 0, rule.get("fwmask") or ALL_BITS
                if mark and rule.get("protocol") != PROTOCOL:
                    found.add((mark, mask))
        return found

    def delete_rules(self, priorities: range) -> int:
        """Delete our own rules, of either family, that have such a priority; return how many there were.

        Those that lead into a table go first, while the exceptions from them are still there.
        """
        count = 0
        for family in self.families:
            ours = [rule for rule in self._rules(family) if rule.get("protocol") == PROTOCOL]
            ours = [rule for rule in ours if rule.get("priority") in priorities]
            for rule in sorted(ours, key=lambda rule: rule["action"] != FR_ACT_TO_TBL):
                priority = rule.get("priority")
                with _translated(f"cannot delete policy rule {priority}", ignore=GONE):
                    self._ipr.rule("del", family=family, priority=priority, protocol=PROTOCOL)
                count += 1
        return count

    def _rules(self, family: int) -> list[Any]:
        """Return pyroute2's messages about the rules of a family."""
        with _translated("cannot read the policy rules"):
            return list(self._ipr.get_rules(family=family))


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


def _why(code: int) -> str:
    if code == errno.EPERM:
        return "not permitted (needs CAP_NET_ADMIN: run as root)"
    if code == errno.EACCES:  # for want of rights it is the other one
        return "permission denied (IPv6 is disabled there: see net.ipv6.conf.*.disable_ipv6)"
    if code in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
        return f"{os.strerror(code).lower()} (not in this kernel; rules need CONFIG_IP_MULTIPLE_TABLES)"
    return os.strerror(code).lower()
