"""Which targets may be reached. Names are judged by their name and by every address they lead to.

In this order: ``deny`` refuses; an address that ``allow`` has as a network may be reached; reserved addresses
and the relay's own may not; a name that ``allow`` has may; else ``default`` decides.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tunproxy.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where only the relay's own surroundings are, or nobody (RFC 6890 and the registries it began).
_RESERVED: Final = tuple(
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
        "::/96", "64:ff9b:1::/48", "100::/64", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
# IPv6 addresses with an IPv4 address in them, and the bit at which it begins: it is judged as well.
_WITH_IPV4: Final = (
    (ipaddress.ip_network("::ffff:0:0/96"), 96),
    (ipaddress.ip_network("64:ff9b::/96"), 96),  # RFC 6052
    (ipaddress.ip_network("2002::/16"), 16),  # RFC 3056
)
_ENTRY: Final = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^\[\]:]+))(?::(?P<from>\d+)(?:-(?P<to>\d+))?)?")
_LABEL: Final = "[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?:\*\.|\+?\.)?{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True)
class Entry:
    """One line of a list: a network, or else a name (with all below it where is_suffix), and ports."""

    network: Network | None
    name: str = ""
    is_suffix: bool = False
    ports: range = range(1, 65_536)

    def has_name(self, name: str, port: int) -> bool:
        if not self.name or port not in self.ports:
            return False
        return name == self.name or (self.is_suffix and name.endswith("." + self.name))

    def has_address(self, address: Address, port: int) -> bool:
        return self.network is not None and port in self.ports and address in self.network


def parse_entry(text: str) -> Entry:
    """Return what text says: ``10.0.0.0/8``, ``192.0.2.7:443``, ``[2001:db8::/32]:1-1023``,
    ``example.com:443``, ``*.example.com`` (with all below it), ``*:25`` (every target's port 25).

    Raises ConfigError.
    """
    bare = _network(text)
    if bare is not None:
        return Entry(bare)
    found = _ENTRY.fullmatch(text.strip().lower())
    if found is None:
        raise ConfigError(f"{text!r} is no network, address or name (with a port: [2001:db8::/32]:443)")
    ports = _ports(text, found)
    host = found["six"] or found["host"]
    network = _network(host)
    if network is not None:
        return Entry(network, ports=ports)
    if host == "*":
        return Entry(None, "*", ports=ports)
    if found["six"] or not _NAME.fullmatch(host) or re.fullmatch(r"[\d.]+", host):
        raise ConfigError(f"{text!r} is no network, address or name")
    name = host.removeprefix("*").removeprefix("+").removeprefix(".")
    return Entry(None, name, name != host, ports)


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return None


def _ports(text: str, found: "re.Match[str]") -> range:
    if found["from"] is None:
        return range(1, 65_536)
    first, last = int(found["from"]), int(found["to"] or found["from"])
    if not 1 <= first <= last <= 65_535:
        raise ConfigError(f"{text!r}: ports are 1 to 65535, the smaller one first")
    return range(first, last + 1)


def is_own(address: Address) -> bool:
    """Return whether an address is one of this host's: only then a socket can be bound to it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((str(address), 0))
    except OSError:
        return False
    return True


class Targets:
    """The judgement. is_ours tells the relay's own addresses."""

    def __init__(
        self,
        allow: Iterable[Entry] = (),
        deny: Iterable[Entry] = (),
        *,
        default: bool = True,
        is_ours: Callable[[Address], bool] = is_own,
    ) -> None:
        self._allow: Final = tuple(allow)
        self._deny: Final = tuple(deny)
        self._default: Final = default
        self._is_ours: Final = is_ours

    def refuses_name(self, name: str, port: int) -> bool:
        """Return whether a name is refused whatever its addresses are: it need not be looked up."""
        return any(_covers(entry, name, port) for entry in self._deny)

    def refuses(self, address: str, port: int, name: str = "") -> str:
        """Return why an address, numeric, that name leads to is refused; "" where it may be dialled."""
        found = ipaddress.ip_address(address.partition("%")[0])
        judged = [found, *_inside(found)]
        for entry in self._deny:
            if entry.name == "*" and port in entry.ports:
                return "the relay does not allow this port"
            if any(entry.has_address(each, port) for each in judged):
                return "the relay does not allow this target"
        if all(any(entry.has_address(each, port) for entry in self._allow) for each in judged):
            return ""
        if any(any(each in network for network in _RESERVED) for each in judged):
            return "the relay does not reach private, local or multicast addresses"
        if any(self._is_ours(each) for each in judged):
            return "the relay does not reach itself"
        if self._default or any(_covers(entry, name, port) for entry in self._allow):
            return ""
        return "the relay does not allow this target"


def _covers(entry: Entry, name: str, port: int) -> bool:
    return entry.has_name(_plain(name), port) or (entry.name == "*" and port in entry.ports)


def _plain(name: str) -> str:
    return name.lower().rstrip(".")


def _inside(address: Address) -> Sequence[Address]:
    """Return the IPv4 address that an IPv6 address stands for."""
    if address.version == 4:
        return ()
    for network, at in _WITH_IPV4:
        if address in network:
            return (ipaddress.IPv4Address((int(address) >> (128 - 32 - at)) & 0xFFFF_FFFF),)
    return ()
