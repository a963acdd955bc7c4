"""Where the kernel would send packets, and what stands in front of a device.

The kernel is asked as it decides for packets themselves (RTM_GETROUTE), with the user who would send them.
"""

import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tunproxy.doctor.finding import Finding, State
from tunproxy.host import sysctl
from tunproxy.host.netlink import Netlink, Way
from tunproxy.host.routes import TABLE
from tunproxy.host.rule_messages import Rule
from tunproxy.host.rules import FIRST, PRIORITIES
from tunproxy.host.surroundings import FAR_IPV4, FAR_IPV6

_USUAL: Final = (0, 32766, 32767)  # local, main, default: every host's
_STRICT: Final = 1  # net.ipv4.conf.*.rp_filter (RFC 3704 §2.2)
_LEVELS: Final = {"0": "off", "1": "strict", "2": "loose"}
_WHOSE: Final = {
    52: "Tailscale's",
    2022: "that of sing-box and mihomo",
    51820: "wg-quick's",
    TABLE: "tunproxy's",
}
NONE: Final[Mapping[str, str]] = MappingProxyType({})
_NETSTAT: Final = Path("/proc/net/netstat")


def judge_ways(
    net: Netlink, links: Sequence[str], uid: int, others: Mapping[str, str] = NONE
) -> list[Finding]:
    """Say for both families whether packets of a user to the world go into one of links.

    others are TUN devices that are not meant, with words about who has each open.
    """
    found = [judge_way(family, net, links, uid, others) for family in ("IPv4", "IPv6")]
    return [*found, *_judge_front(net)]


def judge_way(
    family: str, net: Netlink, links: Sequence[str], uid: int, others: Mapping[str, str] = NONE
) -> Finding:
    """Say where packets of one family to the world go."""
    target = FAR_IPV6 if family == "IPv6" else FAR_IPV4
    way = net.way_to(target, uid=uid)
    evidence = (f"ip route get {target} uid {uid}: {describe_way(way)}",)
    if way is None:
        says = f"no way leads to the world over {family}: programs are told so at once"
        return Finding("routes", State.FINE if family == "IPv6" else State.ODD, says, evidence)
    if way.link in links:
        rest = ", ".join(link for link in links if link != way.link)
        says = f"{family} goes into {way.link}" + (f", and not into {rest}" if rest else "")
        return Finding("routes", State.FINE, says, evidence)
    if way.link in others:
        says = f"{family} goes into {way.link}, a TUN device of another program, which stands in front"
        mend = f"stop that program; or: {_example(links)}"
        return Finding("routes", State.BROKEN, says, (*evidence, f"{way.link}: {others[way.link]}"), mend)
    says = f"{family} goes out at {way.link}, past every TUN device"
    mend = "tunproxy up makes the routes; or with a device of your own: " + _example(links)
    return Finding("routes", State.BROKEN if links else State.ODD, says, evidence, mend)


def judge_source_check(link: str, dropped: int) -> Finding | None:
    """Say whether the kernel's check of source addresses may drop what comes out of a device; None: no.

    dropped is how many packets it has dropped on this host.
    """
    values = [sysctl.read(f"net/ipv4/conf/{each}/rp_filter") for each in ("all", link)]
    level = max(int(value) for value in values if value is not None) if any(values) else 0
    if level != _STRICT or not dropped:
        return None
    evidence = (
        f"net.ipv4.conf.{link}.rp_filter is strict (1)",
        f"IPReversePathFilter in {_NETSTAT}: {dropped:,} packets",
    )
    says = "the kernel drops packets whose source it would not reach by the link they came from"
    mend = f"sysctl -w net.ipv4.conf.{link}.rp_filter=2 net.ipv4.conf.all.rp_filter=2"
    return Finding(f"device {link}", State.ODD, says, evidence, mend)


def describe_source_check(link: str, dropped: int) -> Finding:
    """Say how the kernel checks source addresses, where that harms nobody."""
    values = {each: sysctl.read(f"net/ipv4/conf/{each}/rp_filter") or "0" for each in ("all", link)}
    level = max(values.values())  # the larger one counts (ip-sysctl.rst)
    evidence = tuple(f"net.ipv4.conf.{each}.rp_filter is {value}" for each, value in values.items())
    says = f"rp_filter of {link} is {_LEVELS.get(level, level)}, "
    says += f"and has dropped {dropped:,} packets on this host" if dropped else "and has dropped nothing"
    return Finding("sources", State.FINE, says, evidence)


def source_check_drops(netstat: Path = _NETSTAT) -> int:
    """Return how many packets rp_filter has dropped in this network namespace, 0 where nobody counts."""
    try:
        text = netstat.read_text()
    except OSError:
        return 0
    found = re.search(r"(?m)^TcpExt: ([A-Z].*)\nTcpExt: (\d.*)$", text)
    if found is None:
        return 0
    counts = dict(zip(found[1].split(), found[2].split(), strict=False))
    return int(counts.get("IPReversePathFilter", 0))


def describe_way(way: Way | None) -> str:
    """Return a way in words."""
    if way is None:
        return "unreachable"
    return f"dev {way.link}{f' via {way.gateway}' if way.gateway else ''}"


def describe_rule(rule: Rule) -> str:
    """Return a rule that looks into a table, in words."""
    whose = _WHOSE.get(rule.table, "")
    table = f"table {rule.table}{f', {whose}' if whose else ''}"
    return f"priority {rule.priority}: {table}"


def _judge_front(net: Netlink) -> list[Finding]:
    """Say whose policy rules are asked before ours, and whether rules of ours lead nowhere."""
    found = []
    for family, name in ((socket.AF_INET, "IPv4"), (socket.AF_INET6, "IPv6")):
        if family not in net.families:
            continue
        others = [rule for rule in net.foreign_rules(family) if rule.priority not in _USUAL and rule.table]
        front = [rule for rule in others if rule.priority < FIRST]
        if front:
            which = "a policy rule of others is" if len(front) == 1 else f"{len(front)} rules of others are"
            says = f"{which} asked before ours ({name}): another VPN, mostly"
            ip = "ip -6 rule" if family == socket.AF_INET6 else "ip rule"
            away = "; ".join(f"{ip} delete pref {each}" for each in sorted({each.priority for each in front}))
            mend = f"{ip} shows what it is about; stop whose it is, or: {away}"
            found.append(Finding("routes", State.ODD, says, tuple(map(describe_rule, front)), mend))
        if net.rules(family, PRIORITIES) and not net.count_routes(TABLE):
            says = f"policy rules of a tunproxy that was killed lead into an empty table ({name}): harmless"
            found.append(Finding("routes", State.ODD, says, (), "tunproxy rescue"))
    return found


def _example(links: Sequence[str]) -> str:
    name = links[0] if links else "NAME"
    return f"ip route add default dev {name} table 100; ip rule add not uidrange UID-UID lookup 100"
