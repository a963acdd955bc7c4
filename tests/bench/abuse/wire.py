"""The wire between the cases and a program: packet sockets on its device, in both directions.

Packets go to the device as if the kernel had routed them there, and what the program sends is read beside
the kernel, which has no address of ours and so answers nothing. Super-packets stay what they are; their
segment size comes with them (`Packet.gso`).
"""

import errno
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable

from tests.bench.abuse import packets
from tests.bench.abuse.packets import Packet
from tests.system.namespace import Namespace

ETH_P_ALL, ETH_P_ARP, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0806, 0x0800, 0x86DD
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23  # linux/if_packet.h
SO_RCVBUFFORCE = 33
VNET = struct.Struct("=BBHHHH")  # struct virtio_net_hdr
MAC = bytes.fromhex("02616263646f")  # ours, where the device has Ethernet
BROADCAST = b"\xff" * 6


class Wire:
    """Sends packets to a program and keeps what it answers until somebody asks for it."""

    def __init__(
        self, namespace: Namespace, device: str, ethernet: bool, peer_mac: bytes = BROADCAST
    ) -> None:
        self.device, self.ethernet, self.peer_mac = device, ethernet, peer_mac
        self.kept: deque[Packet] = deque()
        self.ports: set[int] = set()  # our TCP ports: segments to others are the answers to a flood
        self.flooded = False  # drop those segments unread
        self._out = namespace.make_socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._out.bind((device, 0))
        self._in = namespace.make_socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._in.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self._in.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._in.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._in.bind((device, ETH_P_ALL))

    def close(self) -> None:
        self._in.close()
        self._out.close()

    def send(self, packet: bytes) -> None:
        """Put a packet on the device, waiting while its queue is full."""
        proto = ETH_P_IPV6 if packet and packet[0] >> 4 == 6 else ETH_P_IP
        head = self.peer_mac + MAC + struct.pack("!H", proto) if self.ethernet else b""
        self._put(head + packet, proto)

    def send_all(self, flood: Iterable[bytes], until: float) -> int:
        """Send packets until none is left, or until that time; return how many there were."""
        count = 0
        for packet in flood:
            self.send(packet)
            count += 1
            if count % 256 == 0 and time.monotonic() > until:
                break
        return count

    def announce(self, source: str, gateway: str) -> None:
        """Ask for the gateway, as a machine on Ethernet does; so its programs learn where we are."""
        body = struct.pack("!HHBBH", 1, ETH_P_IP, 6, 4, 1) + MAC + packets.packed(source)
        body += b"\0" * 6 + packets.packed(gateway)
        self._put(BROADCAST + MAC + struct.pack("!H", ETH_P_ARP) + body, ETH_P_ARP)

    def wait(self, wanted: Callable[[Packet], bool], timeout: float) -> Packet | None:
        """Return the first packet that is wanted, from those kept or still to come; None after timeout."""
        until = time.monotonic() + timeout
        for packet in self.kept:
            if wanted(packet):
                self.kept.remove(packet)
                return packet
        while (left := until - time.monotonic()) > 0:
            packet = self._next(left)
            if packet is None:
                continue
            if wanted(packet):
                return packet
            self.kept.append(packet)
        return None

    def collect(self, wanted: Callable[[Packet], bool], seconds: float) -> list[Packet]:
        """Return all that are wanted which come within so many seconds."""
        until, found = time.monotonic() + seconds, []
        while True:
            packet = self.wait(wanted, max(0.0, until - time.monotonic()))
            if packet is None:
                return found
            found.append(packet)

    def forget(self) -> None:
        """Drop what came and nobody asked for."""
        self.kept.clear()
        self.ports.clear()
        self._in.setblocking(False)
        try:
            while True:
                self._in.recv(1 << 17)
        except OSError:  # nothing more there, or the device is gone
            pass

    def _put(self, frame: bytes, proto: int) -> None:
        for _ in range(2000):
            try:
                self._out.sendto(frame, (self.device, proto))
                return
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.EAGAIN):
                    return  # the kernel has checks of its own: this one the program is spared
                time.sleep(0.001)

    def _next(self, timeout: float) -> Packet | None:
        self._in.settimeout(timeout)
        try:
            raw = self._in.recv(1 << 17)
        except TimeoutError:
            return None
        except OSError:
            time.sleep(min(timeout, 0.05))  # the device is gone
            return None
        flags, kind, _, size, _, _ = VNET.unpack_from(raw)
        at = VNET.size + (14 if self.ethernet else 0)
        body = raw[at:]
        if self.flooded and len(body) > 23 and body[0] == 0x45 and body[9] == packets.TCP:
            if int.from_bytes(body[22:24], "big") not in self.ports:
                return None
        if self.ethernet and raw[at - 2 : at] == b"\x08\x06":
            self._answer_arp(body)
            return None
        return packets.read(body, size if kind else 0, bool(flags & packets.NEEDS_CSUM))

    def _answer_arp(self, body: bytes) -> None:
        """Say that every address asked for is ours."""
        if len(body) < 28 or body[6:8] != b"\0\1" or body[14:18] == body[24:28]:
            return
        answer = body[:6] + b"\0\2" + MAC + body[24:28] + body[8:14] + body[14:18]
        self._put(body[8:14] + MAC + struct.pack("!H", ETH_P_ARP) + answer, ETH_P_ARP)
