"""tcpdump between two ends, and what somebody who reads its capture finds in it."""

import signal
import socket
from collections.abc import Iterable
from pathlib import Path

import dpkt

from tests.system.hostlab import eventually
from tests.system.namespace import Namespace

DISCARD = 9  # where a datagram is sent that says how far the capture has come

Way = tuple[str, str, int, int]  # protocol, the other end's address, source port, destination port


class Wiretap:
    """Captures everything on a device of a namespace until it is stopped."""

    def __init__(self, where: Namespace, device: str, path: Path) -> None:
        self._where = where
        self._path = path
        self._program = where.spawn(
            *(
                "tcpdump",
                "-i",
                device,
                "-n",
                "-U",
                "--immediate-mode",
                "-s",
                "0",
                "-B",
                "32768",
                "-Z",
                "root",
                "-w",
                str(path),
            ),
            log=path.with_suffix(".log"),
        )
        log = self._program.log
        assert eventually(lambda: "listening on" in log.read_text(), 20), log.read_text()

    def catch_up(self, address: str, token: bytes) -> None:
        """Wait until all that was sent so far is in the capture, as token is, which goes to address."""
        with self._where.make_socket(kind=socket.SOCK_DGRAM) as sock:
            sock.sendto(token, (address, DISCARD))
        assert eventually(lambda: token in self._path.read_bytes(), 20)

    def stop(self) -> str:
        """End it, and return what it says about packets that it had no room for."""
        self._program.process.send_signal(signal.SIGINT)
        self._program.process.wait(20)
        return self._program.log.read_text()

    def payloads(self, port: int) -> dict[str, bytes]:
        """Return what went to and came from a port of the other end: streams put together, datagrams joined.

        Keys are tcp-up, tcp-down, udp-up and udp-down.
        """
        streams: dict[tuple[str, int, int], dict[int, bytes]] = {}
        found = dict.fromkeys(("tcp-up", "tcp-down", "udp-up", "udp-down"), b"")
        for packet in self._packets():
            data = packet.data
            if isinstance(data, dpkt.tcp.TCP) and port in (data.sport, data.dport):
                way = "tcp-up" if data.dport == port else "tcp-down"
                stream = streams.setdefault((way, data.sport, data.dport), {})
                if data.flags & dpkt.tcp.TH_SYN:
                    stream[-1] = (data.seq + 1).to_bytes(5, "big")
                elif data.data and len(data.data) > len(stream.get(data.seq, b"")):
                    stream[data.seq] = bytes(data.data)
            elif isinstance(data, dpkt.udp.UDP) and port in (data.sport, data.dport):
                found["udp-up" if data.dport == port else "udp-down"] += bytes(data.data)
        for (way, _, _), pieces in streams.items():
            found[way] += b"".join(_in_order(pieces))
        return found

    def _packets(self) -> Iterable["dpkt.ip.IP | dpkt.ip6.IP6"]:
        with self._path.open("rb") as file:
            for _, frame in dpkt.pcap.Reader(file):
                packet = dpkt.ethernet.Ethernet(frame).data
                if isinstance(packet, (dpkt.ip.IP, dpkt.ip6.IP6)):
                    yield packet


def _in_order(pieces: dict[int, bytes]) -> Iterable[bytes]:
    """Yield a stream's octets once each; fail where the capture has a gap."""
    start = int.from_bytes(pieces.pop(-1, b""), "big")
    at = 0
    for begin, piece in sorted((seq - start & 0xFFFF_FFFF, piece) for seq, piece in pieces.items()):
        assert begin <= at, f"the capture lacks {begin - at} octets"
        yield piece[at - begin :]
        at = max(at, begin + len(piece))
