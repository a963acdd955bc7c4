"""The TUN and TAP devices of this network namespace, whoever made them, as the kernel tells."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final  # Any: pyroute2 has no types

from tunproxy.errors import SystemChangeError
from tunproxy.host.netlink import IFF_UP
from tunproxy.host.pyroute import IPRoute, NetlinkError

_TAP: Final = 2  # linux/if_tun.h: IFF_TAP, as IFLA_TUN_TYPE has it
_SNMP6: Final = Path("/proc/net/dev_snmp6")
_OF_THE_KERNEL: Final = (
    "Icmp6OutRouterSolicits", "Icmp6OutNeighborSolicits", "Icmp6OutMLDv2Reports",
    "Icmp6OutGroupMembResponses", "Icmp6OutGroupMembReductions",
)  # fmt: skip


@dataclass(frozen=True)
class TunLink:
    """A device, and how many packets the program that has it open has read and written.

    lost are packets for which there was no room: the program has not read those before them. own are what the
    kernel itself has sent there, looking for IPv6 routers and telling of groups, as on every link that is up.
    """

    name: str
    is_tap: bool
    has_vnet_header: bool  # frames begin with a struct virtio_net_hdr
    stays: bool  # also when nobody has it open
    is_up: bool
    mtu: int
    read: int
    written: int
    lost: int
    own: int = 0


def read_tun_links() -> list[TunLink]:
    """Return the devices by name. Raises SystemChangeError."""
    try:
        with IPRoute() as ipr:
            return sorted(map(_link, ipr.get_links(kind="tun")), key=lambda link: link.name)
    except (NetlinkError, OSError) as error:
        raise SystemChangeError(f"cannot read the network devices: {error}") from error


def _link(found: Any) -> TunLink:
    kind = found.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
    counts = found.get("stats64")
    return TunLink(
        found.get("ifname"),
        is_tap=kind.get_attr("IFLA_TUN_TYPE") == _TAP,
        has_vnet_header=bool(kind.get_attr("IFLA_TUN_VNET_HDR")),
        stays=bool(kind.get_attr("IFLA_TUN_PERSIST")),
        is_up=bool(found["flags"] & IFF_UP),
        mtu=found.get("mtu"),
        read=counts["tx_packets"],
        written=counts["rx_packets"],
        lost=counts["tx_dropped"],
        own=sent_by_kernel(found.get("ifname")),
    )


def sent_by_kernel(name: str, folder: Path = _SNMP6) -> int:
    """Return how many packets the kernel has sent to a link of its own accord; 0 where nobody counts."""
    try:
        lines = (folder / name).read_text().splitlines()
    except (OSError, UnicodeDecodeError):  # without IPv6
        return 0
    counts = dict(line.split(maxsplit=1) for line in lines if len(line.split()) == 2)
    return sum(int(counts.get(key, 0)) for key in _OF_THE_KERNEL)
