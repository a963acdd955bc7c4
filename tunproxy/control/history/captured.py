"""The flows in a capture, as entries: who would have come to us, and what we would have known of each.

A TCP flow begins with its SYN, a UDP flow with its first datagram, a ping with its echo request. Names are
those that DNS answers in the capture tell the client, and what the client says first: TLS, HTTP, QUIC. Our
own parsers read the packets; what they would drop does not count here either, but for checksums, which a
capture on the sending host often has not.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from tunproxy.control.history.capture_file import CaptureFile, Packet
from tunproxy.control.history.captured_flow import CapturedFlow, Document, Key
from tunproxy.datagram.reassembly import Reassembler
from tunproxy.dns.names import NameTable
from tunproxy.flow.counters import Counters
from tunproxy.rules.facts import Facts
from tunproxy.wire.ip import ICMP, ICMPV6, TCP, UDP, IpView, parse_ip
from tunproxy.wire.reasons import OK
from tunproxy.wire.tcp import ACK, RST, SYN, Segment, parse_tcp
from tunproxy.wire.vnet import PLAIN

DNS_PORT: Final = 53
UDP_HEADER: Final = 8

# our choices
MOST_OPEN: Final = 65_536  # flows whose packets are followed; the one that began first is over then
IDLE_SECONDS: Final = 60.0  # after which a UDP flow, or a ping, is another one


def whole_length(packet: bytes) -> tuple[bytes, bool]:
    """Return a packet of which only the beginning was captured as long as it was; and whether that is so.

    What lies in it then is known as far as it was captured, and zero behind that.
    """
    if packet[0] >> 4 == 4:
        length = int.from_bytes(packet[2:4], "big")
    else:
        length = 40 + int.from_bytes(packet[4:6], "big")
    if length <= len(packet) or len(packet) < 40:
        return packet, False
    return packet.ljust(length, b"\0"), True


class CapturedFlows:
    """Reads a capture; yields entries as flows are over, and what is left at its end."""

    def __init__(self, capture: CaptureFile) -> None:
        self._capture: Final = capture
        self._open: Final[OrderedDict[Key, CapturedFlow]] = OrderedDict()
        self._names: Final = NameTable()
        self._counters: Final = Counters()
        self._fragments: Final = Reassembler(self._counters)
        self._view: Final = IpView()
        self._segment: Final = Segment()
        self._is_cut = False  # the packet at hand was not captured as a whole
        self.packets = 0

    def entries(self) -> Iterator[Document]:
        """Yield the flows as entries, by their ends. Raises ConfigError for a file that is no capture."""
        for packet in self._capture.packets():
            self.packets += 1
            over = self._take(packet)
            if over is not None:
                yield over.entry()
        while self._open:
            yield self._open.popitem(last=False)[1].entry()

    def _take(self, packet: Packet) -> CapturedFlow | None:
        """Look at a packet; return a flow that is over because of it."""
        view = self._view
        data, self._is_cut = whole_length(packet.data)
        frame = PLAIN + data
        if parse_ip(frame, len(PLAIN), len(frame), view) != OK:
            return None
        if view.is_fragment:
            whole = self._fragments.add(frame, view, int(packet.at * 1e6))
            if whole is None or parse_ip(whole, len(PLAIN), len(whole), view) != OK:
                return None
            frame = whole
        size = int(view.address_len)
        source = frame[view.src_off : view.src_off + size]
        target = frame[view.dst_off : view.dst_off + size]
        if view.protocol == TCP:
            return self._tcp(packet, frame, source, target)
        if view.protocol == UDP:
            return self._udp(packet, frame, source, target)
        if view.protocol in (ICMP, ICMPV6):
            return self._ping(packet, frame, source, target)
        return None

    def _tcp(self, packet: Packet, frame: bytes, source: bytes, target: bytes) -> CapturedFlow | None:
        segment = self._segment
        if parse_tcp(frame, self._view, True, segment) != OK:
            return None
        port, target_port = int(segment.source_port), int(segment.target_port)
        key = (int(TCP), source, port, target, target_port)
        if segment.flags & (SYN | ACK | RST) == SYN:
            before = self._open.get(key)
            if before is not None and int(segment.seq) + 1 & 0xFFFF_FFFF == before.next:
                return None  # it was sent again
            return self._begin(key, packet, "tcp", int(segment.seq) + 1 & 0xFFFF_FFFF)
        data = frame[segment.data_off : segment.data_off + segment.length]
        flow = self._open.get(key)
        if flow is None:
            flow = self._open.get((int(TCP), target, target_port, source, port))
            if flow is not None:
                flow.note(packet)
                flow.down += len(data)
            return None
        flow.note(packet)
        flow.up += len(data)
        if data and not flow.is_heard and not self._is_cut:
            flow.hear(int(segment.seq), data)
        return None

    def _udp(self, packet: Packet, frame: bytes, source: bytes, target: bytes) -> CapturedFlow | None:
        at = int(self._view.payload_off)
        if self._view.end - at < UDP_HEADER:
            return None
        port, target_port = (int.from_bytes(frame[at + two : at + two + 2], "big") for two in (0, 2))
        size = int.from_bytes(frame[at + 4 : at + 6], "big")
        end = at + size if UDP_HEADER <= size <= self._view.end - at else int(self._view.end)
        data = frame[at + UDP_HEADER : end]
        if port == DNS_PORT:
            self._learn(target, data, packet.at)
        key = (int(UDP), source, port, target, target_port)
        flow = self._alive(key, packet.at)
        if flow is None:
            back = self._alive((int(UDP), target, target_port, source, port), packet.at)
            if back is not None:
                back.note(packet)
                back.down += len(data)
                return None
            over = self._begin(key, packet, "udp", 0)
            flow = self._open[key]
        else:
            over = None
            flow.note(packet)
        flow.up += len(data)
        if not flow.is_heard and not self._is_cut:
            flow.hear_datagram(data)
        return over

    def _ping(self, packet: Packet, frame: bytes, source: bytes, target: bytes) -> CapturedFlow | None:
        at = int(self._view.payload_off)
        asks, answers = (8, 0) if self._view.protocol == ICMP else (128, 129)
        if self._view.end - at < UDP_HEADER or frame[at] not in (asks, answers):
            return None
        octets = int(self._view.end) - at - UDP_HEADER
        if frame[at] == answers:
            flow = self._alive((int(ICMP), target, 0, source, 0), packet.at)
            if flow is not None:
                flow.note(packet)
                flow.down += octets
            return None
        key = (int(ICMP), source, 0, target, 0)
        flow = self._alive(key, packet.at)
        over = None
        if flow is None:
            over = self._begin(key, packet, "icmp", 0)
            flow = self._open[key]
        flow.note(packet)
        flow.up += octets
        return over

    def _alive(self, key: Key, now: float) -> CapturedFlow | None:
        flow = self._open.get(key)
        return flow if flow is not None and now - flow.last <= IDLE_SECONDS else None

    def _begin(self, key: Key, packet: Packet, network: str, begins: int) -> CapturedFlow | None:
        """Begin a flow; return the one before it between the same ends, or one that has to make room."""
        over = None
        if key in self._open:
            over = self._open.pop(key)
        elif len(self._open) >= MOST_OPEN:
            _, over = self._open.popitem(last=False)
        _, source, port, target, target_port = key
        facts = Facts(network, source, port, target, target_port)
        found = self._names.lookup(source, target, int(packet.at * 1e6))
        if found.host:
            facts.host, facts.host_from = found.host, found.whence
        flow = CapturedFlow(key, packet.at, facts, begins)
        self._open[key] = flow
        flow.note(packet)
        return over

    def _learn(self, client: bytes, data: bytes, at: float) -> None:
        """Remember what a DNS answer tells a client."""
        import dns.exception
        import dns.message
        import dns.rdataclass
        import dns.rdatatype

        try:
            message = dns.message.from_wire(data, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError, IndexError):
            return
        if not message.question or not message.answer:
            return
        name = message.question[0].name.to_text(omit_final_dot=True).lower()
        for records in message.answer:
            is_address = records.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
            if is_address and records.rdclass == dns.rdataclass.IN:
                found = [ipaddress.ip_address(each.address).packed for each in records]
                self._names.learn(client, name, found, int(records.ttl), int(at * 1e6))
