"""What the network around us is like now: how our packets leave, and which addresses this host has.

How packets leave is what the kernel answers for an address far away (RTM_GETROUTE), asked as whoever sends
them. No name of an interface is guessed at, and other VPNs' routes and rules count as they do for packets.
"""

from dataclasses import dataclass
from typing import Final

from tunproxy.host.addresses import Network
from tunproxy.host.netlink import Netlink, Way

# Nothing is sent there: addresses of a root server, which every way out of this host leads to.
FAR_IPV4: Final = "198.41.0.4"
FAR_IPV6: Final = "2001:503:ba3e::2:30"


@dataclass(frozen=True)
class Sender:
    """Whose packets are meant: a user's, or those with a mark that is not 0."""

    uid: int
    mark: int = 0


@dataclass(frozen=True)
class Surroundings:
    """ways are by family, None where there is none; local are all addresses of this host."""

    ipv4: Way | None
    ipv6: Way | None
    local: frozenset[Network]


def look_around(net: Netlink, sender: Sender) -> Surroundings:
    """Return what is around. Raises SystemChangeError."""
    return Surroundings(
        net.way_to(FAR_IPV4, uid=sender.uid, mark=sender.mark),
        net.way_to(FAR_IPV6, uid=sender.uid, mark=sender.mark),
        frozenset(net.local_prefixes()),
    )
