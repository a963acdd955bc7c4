"""Links and their addresses, as changes that can be reverted."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from tunproxy.host import sysctl
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6, Interface
from tunproxy.host.changes import Change
from tunproxy.host.netlink import Netlink

IF_INET6: Final = Path("/proc/net/if_inet6")

# Our choice: packets that wait while the worker is at others. Of the kernel's 500, forty busy flows had
# one datagram in a hundred dropped.
QUEUE_LENGTH: Final = 2000


@dataclass(frozen=True)
class LinkUp(Change):
    """A TUN link is up and has an MTU, and sends nothing of its own accord."""

    what: ClassVar[str] = "the state of the device"
    name: str
    mtu: int

    def apply(self, net: Netlink) -> None:
        # Without a link-local address the kernel neither solicits routers nor reports groups on the link.
        sysctl.write(f"net/ipv6/conf/{self.name}/addr_gen_mode", "1")
        net.set_queue_length(self.name, QUEUE_LENGTH)
        net.set_link(self.name, up=True, mtu=self.mtu)

    def mend(self, net: Netlink) -> bool:
        if net.is_up(self.name):
            return False
        net.set_link(self.name, up=True)
        return True

    def revert(self, net: Netlink) -> None:
        if has_link(self.name):
            net.set_link(self.name, up=False)


@dataclass(frozen=True)
class Address(Change):
    """A link has an address."""

    what: ClassVar[str] = "an address"
    name: str
    address: Interface

    def apply(self, net: Netlink) -> None:
        net.add_address(self.name, self.address)

    def mend(self, net: Netlink) -> bool:
        if net.has_address(self.name, self.address):
            return False
        self.apply(net)
        return True

    def revert(self, net: Netlink) -> None:
        net.delete_address(self.name, self.address)


def has_link(name: str) -> bool:
    """Tell whether this network namespace has a link called name."""
    try:  # asks for what netlink has; in /proc a link that is being deleted is there for a moment longer
        return socket.if_nametoindex(name) > 0
    except OSError:
        return False


def has_ipv6(name: str) -> bool:
    """Tell whether a link can have IPv6 addresses: the kernel has IPv6, and nobody disabled it there."""
    return sysctl.read(f"net/ipv6/conf/{name}/disable_ipv6") == "0"


def others_have_ipv6(name: str) -> bool:
    """Tell whether another link than this and the loopback has an IPv6 address (/proc/net/if_inet6)."""
    try:
        lines = IF_INET6.read_text().splitlines()
    except OSError:  # a kernel without IPv6
        return False
    return any(line.split()[-1] not in (name, "lo") for line in lines)


def allow_ipv6(name: str) -> None:
    """Have a link of ours take IPv6 addresses where others have them, whatever is set for new links.

    What leads out over IPv6 would go past us else.
    """
    if not has_ipv6(name) and others_have_ipv6(name):
        sysctl.write(f"net/ipv6/conf/{name}/disable_ipv6", "0")


def tun_addresses(name: str) -> tuple[Interface, ...]:
    """Return the addresses that our TUN link can get."""
    return (TUN_IPV4, TUN_IPV6) if has_ipv6(name) else (TUN_IPV4,)
