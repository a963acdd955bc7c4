"""Which packets of a user would go past the device: the kernel is asked about each kind, nothing is sent."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from tunproxy.doctor.finding import Finding, State
from tunproxy.doctor.ways import describe_way
from tunproxy.errors import SystemChangeError
from tunproxy.host.bus import SystemBus, connect, has_bus
from tunproxy.host.netlink import Netlink
from tunproxy.host.network_manager import NAME as NETWORK_MANAGER
from tunproxy.host.resolver import nameservers, read_host_settings
from tunproxy.host.surroundings import FAR_IPV4, FAR_IPV6

_SUBJECT: Final = "captive portal"
_NOT_LOOKED: Final = 0  # NMConnectivityState: NM_CONNECTIVITY_UNKNOWN
_PORTAL: Final = 2  # NM_CONNECTIVITY_PORTAL
_PATH: Final = "/org/freedesktop/NetworkManager"

TCP, UDP, ICMP, ICMPV6 = socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6


@dataclass(frozen=True)
class Kind:
    """A kind of packets: what people call it, its protocol, and its port, 0 for none."""

    name: str
    protocol: int
    port: int = 0


WORLD: Final = (
    Kind("web (tcp/443)", TCP, 443),
    Kind("QUIC (udp/443)", UDP, 443),
    Kind("DNS (udp/53)", UDP, 53),
    Kind("DNS (tcp/53)", TCP, 53),
    Kind("DNS over TLS (tcp/853)", TCP, 853),
    Kind("NTP (udp/123)", UDP, 123),
)
RESOLVER: Final = WORLD[2:4]


def audit(net: Netlink, links: Sequence[str], uid: int) -> list[Finding]:
    """Say for each kind of packet of a user whether it goes into one of links. Raises SystemChangeError."""
    found = []
    for family, target, ping in (("IPv4", FAR_IPV4, ICMP), ("IPv6", FAR_IPV6, ICMPV6)):
        kinds = (*WORLD, Kind("ping", ping))
        found += [judge_kind(net, kind, family, target, links, uid) for kind in kinds]
    for address in nameservers(read_host_settings()):
        if not ip_address(address).is_loopback:  # a program here, which asks as itself
            found += [judge_kind(net, kind, "resolver", address, links, uid) for kind in RESOLVER]
    return found


def judge_kind(net: Netlink, kind: Kind, family: str, target: str, links: Sequence[str], uid: int) -> Finding:
    """Say whether one kind of packet is captured."""
    subject = f"{family} {kind.name}" if family != "resolver" else f"resolver {target} {kind.name}"
    way = net.way_to(target, uid=uid, protocol=kind.protocol, port=kind.port)
    evidence = (describe_way(way),)
    if way is None:
        return Finding(subject, State.FINE, "goes nowhere: refused at once", evidence)
    if way.link in links:
        return Finding(subject, State.FINE, f"goes into {way.link}", evidence)
    return Finding(subject, State.BROKEN, f"leaks: it goes out at {way.link}", evidence)


def judge_portal() -> Finding:
    """Say whether a captive portal stands before the network, as far as NetworkManager knows."""
    if not has_bus():
        return _unknown("there is no system bus, over which NetworkManager would tell")
    return asyncio.run(look_for_portal())


async def look_for_portal() -> Finding:
    """Ask NetworkManager, over the system bus, whether a captive portal stands before the network."""
    try:
        bus = await connect()
    except SystemChangeError as error:
        return _unknown(str(error))
    try:
        return await _ask_portal(bus)
    except SystemChangeError as error:
        return _unknown(str(error))
    finally:
        bus.close()


async def _ask_portal(bus: SystemBus) -> Finding:
    if not await bus.is_here(NETWORK_MANAGER):
        return _unknown("NetworkManager, which would, does not run")
    state = (await bus.properties(NETWORK_MANAGER, _PATH, NETWORK_MANAGER)).get("Connectivity")
    evidence = (f"Connectivity {state}",)
    if state == _NOT_LOOKED:
        return _unknown("NetworkManager's check of connectivity is off, or has not ended", evidence)
    if state != _PORTAL:
        return Finding(_SUBJECT, State.FINE, "NetworkManager sees none", evidence)
    says = "NetworkManager sees one: nothing but its page answers until somebody logs in there"
    mend = "log in with a browser of an excluded user ([capture] exclude-users), or stop tunproxy meanwhile"
    return Finding(_SUBJECT, State.ODD, says, evidence, mend)


def _unknown(why: str, evidence: tuple[str, ...] = ()) -> Finding:
    return Finding(_SUBJECT, State.UNKNOWN, f"nobody looks for one: {why}", evidence)
