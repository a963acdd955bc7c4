"""Sees every packet that leaves a network namespace other than by the TUN device, and knows a program's own.

A program's own packet is one to an address of ``PROGRAMS``. Nobody but the programs of the tests sends there:
tunproxy carries their flows through a proxy at another address. Only pings it sends there itself, and these
have other identifiers.
"""

import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

PROGRAMS = (
    ip_network("203.0.113.0/24"),
    ip_network("2001:db8:200::/48"),
)  # where programs, and nobody else, go

# linux/if_packet.h, linux/if_ether.h, linux/if_arp.h
ETH_P_ALL = 3
ARPHRD_NONE = 0xFFFE  # what a TUN is
PACKET_OUTGOING = 4
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_RCVBUFFORCE = 33
HEADERS = 64  # octets that are looked at


@dataclass(frozen=True)
class Seen:
    """A program's packet on a link where it should not be. port is its own, or its ping's identifier."""

    link: str
    protocol: str
    family: int
    port: int
    target_port: int

    @property
    def kind(self) -> tuple[str, int]:
        return self.protocol, self.family


class Sniffer:
    """Listens on all links but skipped ones, those that come later included, until it is closed."""

    def __init__(self, skipped: Iterable[str]) -> None:
        """Make it in the network namespace that is meant."""
        self._skipped = {"lo", *skipped}
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket.setblocking(False)
        self._empty_at = 0.0  # when all that had come was looked at
        self._ended = False
        self._found: list[Seen] = []
        self.looked_at: Counter[str] = Counter()  # packets that left, by link
        self.lost = 0  # packets that were not looked at, because there were too many
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; lost is final then. May be called again."""
        if self._ended:
            return
        self._ended = True
        self._thread.join(10)
        self.lost += struct.unpack("=II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        self._socket.close()

    def found(self) -> list[Seen]:
        """Return the programs' packets that have left up to now."""
        now = time.monotonic()
        while self._empty_at < now and self._thread.is_alive():
            time.sleep(0.005)
        return list(self._found)

    def _listen(self) -> None:
        while True:
            try:
                packet, (link, _, kind, hardware, _) = self._socket.recvfrom(HEADERS)
            except BlockingIOError:
                self._empty_at = time.monotonic()
                if self._ended:
                    return
                select.select([self._socket], [], [], 0.05)
                continue
            if kind != PACKET_OUTGOING or link in self._skipped:
                continue
            if not link and hardware == ARPHRD_NONE:  # it had a name, and is gone: only ours goes away
                continue
            self.looked_at[link] += 1
            seen = look(link, packet)
            if seen is not None:
                self._found.append(seen)


def look(link: str, packet: bytes) -> Seen | None:
    """Return what it is, where it is a program's."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 28:
        protocol, target = packet[9], packet[16:20]
        body = packet[(packet[0] & 15) * 4 :]
    elif version == 6 and len(packet) >= 48:
        protocol, target = packet[6], packet[24:40]
        body = packet[40:]
    else:
        return None
    if not any(ip_address(target) in network for network in PROGRAMS):
        return None
    if protocol in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6):
        return Seen(link, "ping", version, int.from_bytes(body[4:6], "big"), 0)
    name = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}.get(protocol, f"protocol {protocol}")
    return Seen(link, name, version, *struct.unpack_from(">HH", body))
