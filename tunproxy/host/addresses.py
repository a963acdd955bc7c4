"""The addresses of our TUN links, in one place, and what an address and a link's name are here."""

import socket
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Final

Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

# our choices: private ranges that hardly anybody uses, so that they do not hide a network of the host
TUN_IPV4: Final = IPv4Interface("10.231.77.1/30")
TUN_IPV6: Final = IPv6Interface("fd7a:7475:6e70::1/126")
RESOLVER_IPV4: Final = str(TUN_IPV4.ip + 1)  # the other usable address of each network: whom a command in
RESOLVER_IPV6: Final = str(TUN_IPV6.ip + 1)  # a namespace of its own asks for names


def link_name(index: int) -> str:
    """Return the name of the link with that number, "" where it is gone."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""
