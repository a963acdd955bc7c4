"""Policy rules as we speak of them, and as pyroute2 does (``netlink``)."""

import socket
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final  # Any: pyroute2 has no types

from tunproxy.host.addresses import Network

PROTOCOL: Final = 119  # our choice: marks our routes and rules as ours (free in /etc/iproute2/rt_protos)

FIB_RULE_INVERT: Final = 0x02  # linux/fib_rules.h
FR_ACT_TO_TBL: Final = 1
FR_ACT_GOTO: Final = 2
FR_ACT_NOP: Final = 3
ALL_BITS: Final = 0xFFFF_FFFF

# Prefixes this short lead everywhere, and not to a network: other VPNs put two halves of everything in front
# of a default route that they leave alone (OpenVPN's redirect-gateway def1: 0.0.0.0/1 and 128.0.0.0/1; ::/3,
# 2000::/4 and 3000::/4 for IPv6), and 2000::/3, all that is given away of IPv6, is many a tunnel's default.
DEFAULT_LENGTH: Final[dict[int, int]] = {socket.AF_INET: 1, socket.AF_INET6: 4}


# What no rule of ours has, as pyroute2 calls it. One of an earlier version, or of somebody's hand, may.
_NEVER_OURS: Final = (
    "tos", "ip_proto", "sport_range", "oifname", "suppress_ifgroup", "l3mdev", "tun_id", "flow"
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """A policy rule: packets that match all that is set look into table, or go to a later rule.

    Without table and goto it matches and does nothing: a target for goto. Prefixes and interfaces match
    what ``ip rule`` calls from, to and iif; not_iif matches every other interface, not_port every other port,
    and both whatever has not both.
    last_uid is that of a range which begins with uid. The bits of mask must be in a packet's mark as in mark.
    odd is whatever else a rule asks for or does, as pyroute2 has it, so that no other rule is taken for it.
    """

    priority: int
    table: int = 0
    goto: int = 0
    source: Network | None = None
    target: Network | None = None
    iif: str = ""
    not_iif: str = ""
    uid: int = -1
    last_uid: int = -1
    mark: int = 0
    mask: int = 0  # with a mark, 0 means all bits
    port: int = 0  # that the packet goes to
    not_port: int = 0
    ignore_default: bool = False  # a route found in table that leads everywhere does not count
    odd: tuple[tuple[str, int | str], ...] = ()


def rule_fields(family: int, rule: Rule) -> dict[str, Any]:
    """Return the arguments of pyroute2's call that adds or deletes a rule, for ours."""
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
        # as a prefix: pyroute2 takes the mere address 0.0.0.0, and ::, for none at all
        fields |= {"dst": str(rule.target), "dst_len": rule.target.prefixlen}
    if rule.iif:
        fields |= {"iifname": rule.iif}
    if rule.not_iif:
        fields |= {"iifname": rule.not_iif, "flags": FIB_RULE_INVERT}
    if rule.uid >= 0:
        fields |= {"uid_range": f"{rule.uid}:{max(rule.uid, rule.last_uid)}"}
    if rule.mark or rule.mask:
        fields |= {"fwmark": rule.mark, "fwmask": rule.mask or ALL_BITS}
    if rule.port:
        fields |= {"dport_range": f"{rule.port}:{rule.port}"}
    if rule.not_port:
        fields |= {"dport_range": f"{rule.not_port}:{rule.not_port}", "flags": FIB_RULE_INVERT}
    if rule.ignore_default:
        fields |= {"suppress_prefixlen": DEFAULT_LENGTH[family]}
    return fields | dict(rule.odd)


def rule_of(found: Any) -> Rule:
    """Return the rule that pyroute2's message is about; an odd one is equal to none of ours."""
    is_inverted = bool(found["flags"] & FIB_RULE_INVERT)
    first, _, last = str(found.get("uid_range") or "-1:-1").partition(":")
    port = int(str(found.get("dport_range") or "0:0").partition(":")[0])
    iif = found.get("iifname") or ""
    mask = found.get("fwmask") or 0
    return Rule(
        found.get("priority") or 0,
        table=(found.get("table") or 0) if found["action"] == FR_ACT_TO_TBL else 0,
        goto=found.get("goto") or 0,
        source=_prefix(found.get("src"), found["src_len"]),
        target=_prefix(found.get("dst"), found["dst_len"]),
        iif="" if is_inverted else iif,
        not_iif=iif if is_inverted else "",
        uid=int(first),
        last_uid=int(last) if last != first else -1,
        mark=found.get("fwmark") or 0,
        mask=0 if mask == ALL_BITS else mask,
        port=0 if is_inverted else port,
        not_port=port if is_inverted else 0,
        ignore_default=found.get("suppress_prefixlen") == DEFAULT_LENGTH.get(found["family"], -1),
        odd=_odd(found, is_inverted=is_inverted),
    )


def _odd(found: Any, *, is_inverted: bool) -> tuple[tuple[str, int | str], ...]:
    """Return what a Rule has no other words for: else unreachable would be our nop, UDP be all."""
    asked = [(name, found.get(name)) for name in _NEVER_OURS]
    odd = [(name, value) for name, value in asked if value is not None and (value or name != "tos")]
    action = found["action"]
    if action not in (FR_ACT_TO_TBL, FR_ACT_GOTO, FR_ACT_NOP) or (
        action == FR_ACT_TO_TBL and not found.get("table")
    ):
        odd.append(("action", action))
    ports = str(found.get("dport_range") or "0:0")
    first, _, last = ports.partition(":")
    if first != last:
        odd.append(("dport_range", ports))
    if is_inverted and not found.get("iifname") and not found.get("dport_range"):
        odd.append(("flags", FIB_RULE_INVERT))
    return tuple(odd)


def _prefix(address: str | None, length: int) -> Network | None:
    return ip_network(f"{address}/{length}") if address else None
