"""What of the host itself makes proxies fail: descriptors, the clock, and whom it asks for names."""

import resource
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from tunproxy.doctor.finding import Finding, State
from tunproxy.doctor.ways import describe_way
from tunproxy.errors import SystemChangeError
from tunproxy.host import libc
from tunproxy.host.netlink import Netlink
from tunproxy.host.resolver import nameservers, read_host_settings

FEW: Final = 4096  # our choice: a descriptor for each flow, and browsers open hundreds
UDP: Final = 17
DNS_PORT: Final = 53
_SYNCHRONIZED: Final = Path("/run/systemd/timesync/synchronized")


def judge_descriptors(hard: int | None = None) -> Finding:
    """Say whether a proxy that is started here may open enough; hard is the limit, ours unless given."""
    if hard is None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < FEW:
        says = f"at most {hard:,} files may be open, and each connection needs one"
        mend = f"ulimit -Hn {FEW * 16}; with systemd: LimitNOFILE="
        return Finding("limits", State.ODD, says, ("ulimit -Hn",), mend)
    many = "any number of" if hard == resource.RLIM_INFINITY else f"{hard:,}"
    return Finding("limits", State.FINE, f"{many} files may be open")


def judge_clock(is_synchronized: bool | None) -> Finding:
    """Say whether somebody keeps the clock right; None: nobody can tell."""
    if is_synchronized is None:
        return Finding("clock", State.UNKNOWN, "whether the clock is right cannot be told")
    if is_synchronized:
        return Finding("clock", State.FINE, "somebody keeps the clock right")
    says = (
        "nobody keeps the clock right: certificates, and ciphers with the time in them, fail if it is wrong"
    )
    return Finding("clock", State.ODD, says, ("adjtimex: not synchronized",), "timedatectl set-ntp true")


def is_clock_synchronized() -> bool | None:
    """Tell whether the clock is kept right, None where the kernel does not say."""
    if _SYNCHRONIZED.exists():
        return True
    try:
        return libc.is_clock_synchronized()
    except OSError:
        return None


def judge_names(net: Netlink, links: list[str], uid: int) -> list[Finding]:
    """Say where questions to the resolvers of /etc/resolv.conf go."""
    return [_judge_resolver(net, address, links, uid) for address in nameservers(read_host_settings())]


def _judge_resolver(net: Netlink, address: str, links: list[str], uid: int) -> Finding:
    if ip_address(address).is_loopback:
        says = f"names are asked of {address}, a program on this host, which asks others"
        mend = "resolvectl, or that program's settings, say whom"
        return Finding("names", State.FINE, says, ("/etc/resolv.conf",), mend)
    try:
        way = net.way_to(address, uid=uid, protocol=UDP, port=DNS_PORT)
    except SystemChangeError as error:
        return Finding("names", State.UNKNOWN, str(error))
    evidence = ("/etc/resolv.conf", f"ip route get {address} ipproto udp dport 53: {describe_way(way)}")
    if way is None:
        says = f"the resolver {address} cannot be reached: no name is found"
        return Finding("names", State.BROKEN, says, evidence, "name another one in /etc/resolv.conf")
    if way.link in links or not links:
        return Finding("names", State.FINE, f"questions to {address} go to {way.link}", evidence)
    says = f"questions to {address} go out at {way.link}, past {', '.join(links)}: rules see no names"
    mend = "name a resolver that the device's routes lead to, or see [dns] in docs/configuration.md"
    return Finding("names", State.ODD, says, evidence, mend)
