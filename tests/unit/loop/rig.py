"""A packet path whose device is one end of a socket pair: real descriptors, and the test is the kernel.

test ── ``wire`` ═════ ``device`` ── Dataplane ── tables
"""

import socket

from librt.strings import BytesWriter

from tunproxy.datagram.reassembly import Reassembler
from tunproxy.datagram.table import DatagramTable
from tunproxy.flow.counters import Counters
from tunproxy.flow.ports import Opener
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.targets import Targets
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.flow.verdict import DIAL, Verdict
from tunproxy.loop.dataplane import Dataplane, DeviceSink
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.tcp.connection import Settings
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.wire.ip import TCP, Endpoints
from tunproxy.wire.tcp import SYN, emit_tcp

CLIENT, TARGET = socket.inet_aton("10.0.0.2"), socket.inet_aton("192.0.2.1")


class Rig:
    """One stack; TARGET means the host's loopback."""

    def __init__(self) -> None:
        self.wire, self.device = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.wire.settimeout(2)
        self.device.setblocking(False)
        self.counters = Counters()
        self.dataplane = Dataplane(self.device.fileno(), self.counters)
        sink = DeviceSink(self.device.fileno(), self.counters)
        sockets = KernelSockets(0, "")
        targets = Targets({(TARGET, 0): ("127.0.0.1", 0)})
        decider = StaticDecider(Verdict(DIAL, "direct"))
        settings = Settings(1500, cwnd=UNTHROTTLED)
        self.tcp = TcpTable(
            sink, self.dataplane, sockets, targets, decider, Opener(), self.counters, settings, bytes(16)
        )
        self.datagrams = DatagramTable(sink, self.dataplane, sockets, targets, self.counters, 1_000_000)
        self.dataplane.attach(self.tcp, self.datagrams, Reassembler(self.counters))

    def close(self) -> None:
        """End the stack, then the device."""
        self.dataplane.close()
        self.wire.close()
        self.device.close()


def syn(target_port: int, *, source_port: int = 40000) -> bytes:
    """Return the frame of a client's SYN."""
    out = BytesWriter()
    emit_tcp(out, Endpoints(CLIENT, TARGET, source_port, target_port, TCP), 1000, 0, SYN, 65535, 0, 0, 0)
    return out.getvalue()


def tcp_flags(frame: bytes) -> int:
    """Return the flags of the TCP segment in an IPv4 frame without options."""
    return frame[10 + 20 + 13]
