"""Counts questions for names that leave this host past us, in a table of nftables of our own.

    port 53 and 853, on its way out ─▶ through lo or the TUN?  ─▶ not counted
                                       from the worker?        ─▶ not counted
                                       not to be captured?     ─▶ not counted
                                       else                    ─▶ counted by (interface, uid, protocol, port)

Nothing is held up. Of UDP each datagram counts, of TCP what begins a connection or has something to say: what
only acknowledges or ends asks nothing. What is forwarded for others is not of this host, and does not count.
The table vanishes with this process (``nft``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from tunproxy.errors import SystemChangeError
from tunproxy.host.addresses import Network
from tunproxy.host.cgroups import EXCLUDED, INCLUDED
from tunproxy.host.nft import NftTable
from tunproxy.host.scope import Scope

TABLE: Final = "tunproxy_leaks"
PORTS: Final = {53: "DNS", 853: "DNS over TLS"}  # RFC 1035, RFC 7858 and RFC 9250

# our choices
MAX_KINDS: Final = 1024  # of (interface, uid, protocol, port)
_PRIORITY: Final = 300  # after all who may send a packet another way

_SEEN: Final = "seen"
_PROTOCOLS: Final[dict[object, str]] = {6: "tcp", 17: "udp"}  # where the host has no /etc/protocols


@dataclass(frozen=True)
class Leak:
    """So many packets that asked for names left by interface, of a user's programs."""

    interface: str
    uid: int
    protocol: str
    port: int
    packets: int


class LeakTable:
    """The table. One thread at a time may use it."""

    def __init__(
        self,
        tun: str,
        *,
        uid: int = -1,
        mark: int = 0,
        spared: Iterable[str] = (),
        scope: Scope | None = None,
    ) -> None:
        """Begin to count. Raises SystemChangeError where the kernel or the library cannot do that.

        tun is our device. The worker is known by mark, or by uid where that is 0. spared are addresses of
        resolvers whom programs may ask. What scope leaves alone does not count.
        """
        self._table: Final = NftTable(TABLE)
        self._content: Final = content(tun, uid=uid, mark=mark, spared=spared, scope=scope)
        try:
            self.restart()
        except SystemChangeError:
            self._table.close()
            raise

    def restart(self) -> None:
        """Forget what was counted. Raises SystemChangeError."""
        self._table.apply(self._content)

    def read(self) -> list[Leak]:
        """Return what was counted, most first. Raises SystemChangeError."""
        found = [
            Leak(str(name), int(uid), _PROTOCOLS.get(protocol, str(protocol)), int(port), packets)
            for (name, uid, protocol, port), packets in self._table.counted(_SEEN)
            if packets
        ]
        return sorted(found, key=lambda leak: -leak.packets)

    def close(self) -> None:
        """Stop counting."""
        self._table.close()


def content(
    tun: str, *, uid: int = -1, mark: int = 0, spared: Iterable[str] = (), scope: Scope | None = None
) -> str:
    """Return the table as nft writes it."""
    passed = [f'oifname {{ "lo", "{tun}" }}', f"meta mark {mark:#x}" if mark else f"meta skuid {uid}"]
    passed += _left_alone(scope or Scope(), [ip_network(each) for each in spared])
    exceptions = "".join(f"    {each} return\n" for each in passed)
    ports = ", ".join(str(port) for port in PORTS)
    return f"""
  set {_SEEN} {{
    type ifname . uid . inet_proto . inet_service
    size {MAX_KINDS}
    flags dynamic
    counter
  }}
  chain asked {{
{exceptions}    update @{_SEEN} {{ meta oifname . meta skuid . meta l4proto . th dport }}
  }}
  chain leaving {{
    type filter hook postrouting priority {_PRIORITY}; policy accept;
    udp dport {{ {ports} }} jump asked
    tcp dport {{ {ports} }} tcp flags & (syn | psh) != 0 jump asked
  }}
"""


def _left_alone(scope: Scope, spared: Iterable[Network]) -> list[str]:
    """Return what tells packets that are not to be captured."""
    found = [
        f"{'ip6' if each.version == 6 else 'ip'} daddr {each}"
        for each in (*spared, *(ip_network(each) for each in scope.dns_except), *scope.excluded)
    ]
    found += [f"meta skuid {first}-{last}" for first, last in scope.users_left_alone()]
    found += [f"meta mark & {mask:#x} == {mark:#x}" for mark, mask in scope.marks]
    if scope.spares_cgroups:
        found.append(f"meta mark & {EXCLUDED:#x} == {EXCLUDED:#x}")
    if scope.only_cgroups:
        found.append(f"meta mark & {INCLUDED:#x} == 0")
    return found
