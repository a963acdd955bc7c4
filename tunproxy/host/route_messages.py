"""What pyroute2 is told of addresses and routes; and the question by which way packets leave, with the
attributes that its message lacks.
"""

import socket
from typing import Any, Final  # Any: pyroute2 has no types

from tunproxy.host.addresses import Interface, Network
from tunproxy.host.pyroute import rtmsg
from tunproxy.host.rule_messages import PROTOCOL

WORST_METRIC: Final = 0xFFFF_FFFF
RT_SCOPE_UNIVERSE: Final = 0  # linux/rtnetlink.h
RT_SCOPE_LINK: Final = 253
IFA_F_NODAD: Final = 0x02  # linux/if_addr.h
_EXPIRES: Final = 23  # linux/rtnetlink.h: RTA_EXPIRES, the last attribute that pyroute2 0.9 knows
_MORE: Final = (
    ("RTA_PAD", "hex"),
    ("RTA_UID", "uint32"),
    ("RTA_TTL_PROPAGATE", "uint8"),
    ("RTA_IP_PROTO", "uint8"),
    ("RTA_SPORT", "be16"),
    ("RTA_DPORT", "be16"),
)


class RouteQuestion(rtmsg):  # type: ignore[misc]
    """RTM_GETROUTE, for packets as a program would send them."""

    nla_map = (*rtmsg.nla_map[: _EXPIRES + 1], *_MORE)
    # pyroute2 makes tables of that once, and has a class inherit those of its base, where that has been used
    _nlmsg_base__compiled_nla = False


def route_question(family: int, target: str, **fields: int) -> Any:
    """Return the question where packets to target go. fields: uid, mark, ip_proto, dport as they matter."""
    question = RouteQuestion()
    question["family"] = family
    question["dst_len"] = 128 if family == socket.AF_INET6 else 32
    question["attrs"] = [("RTA_DST", target), *((f"RTA_{name.upper()}", fields[name]) for name in fields)]
    return question


def address_fields(index: int, address: Interface) -> dict[str, Any]:
    """Return what says that a link has an address, which may be used at once."""
    return {
        "index": index,
        "family": family_of(address),
        "address": str(address.ip),
        "prefixlen": address.network.prefixlen,
        **({"flags": IFA_F_NODAD} if address.version == 6 else {}),
    }


def route_fields(prefix: Network, index: int, table: int) -> dict[str, Any]:
    """Return what says that prefix is routed into a link by table, by us."""
    return {
        "family": family_of(prefix),
        "dst": str(prefix),
        "oif": index,
        "table": table,
        "proto": PROTOCOL,
        "scope": RT_SCOPE_LINK if prefix.version == 4 else RT_SCOPE_UNIVERSE,
    }


def unreachable_fields(prefix: Network, table: int) -> dict[str, Any]:
    """Return what says that prefix is unreachable by table where there is no other route to it."""
    return {
        "family": family_of(prefix),
        "dst": str(prefix),
        "type": "unreachable",
        "table": table,
        "proto": PROTOCOL,
        "priority": WORST_METRIC,
    }


def family_of(address: Interface | Network) -> int:
    """Return the family of an address, as sockets call it."""
    return socket.AF_INET6 if address.version == 6 else socket.AF_INET
