"""Fragments to packets (RFC 791 §3.2, RFC 8200 §4.5), for both families.

Overlaps are refused (RFC 5722, RFC 8200 §4.5), and so is what else no honest sender makes: pieces that end
past the last one, or past the largest packet. Such a packet's other fragments are swallowed until its time is
over. Exact repetitions are harmless. Time and memory are bounded, the oldest packet gives way.
"""

from bisect import bisect_right
from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.counters import Counters
from tunproxy.wire.bits import put16, put32
from tunproxy.wire.checksum import checksum
from tunproxy.wire.ip import IPV4_LEN, MAX_PACKET, IpView, parse_ip
from tunproxy.wire.reasons import FRAGMENT, FRAGMENT_LIMIT, FRAGMENT_OVERLAP, FRAGMENT_TIMEOUT, OK
from tunproxy.wire.vnet import PLAIN, VNET_LEN

LIFETIME: Final[Micros] = 30_000_000  # RFC 791 §3.2 and RFC 8200 §4.5 say 15 s and 60 s; as Linux does
_CONGESTION_EXPERIENCED: Final[i64] = 3  # RFC 3168 §5.3

# our choices
MAX_PACKETS: Final[i64] = 64
MAX_OF_SOURCE: Final[i64] = 32  # of one address: whoever has that many makes room for itself
MAX_MEMORY: Final[i64] = 4 << 20
_OVERHEAD: Final[i64] = 128  # what a piece costs besides its octets


@final
@mypyc_attr(native_class=True)
class _Packet:
    """The fragments of one packet that arrived so far: pieces[i] starts at octet starts[i], in order."""

    def __init__(self, source: bytes, now: Micros) -> None:
        self.source: Final = source
        self.started_at: Final[Micros] = now
        self.starts: list[i64] = []
        self.pieces: list[bytes] = []
        self.received: i64 = 0
        self.total: i64 = -1  # known when the last fragment has come
        self.memory: i64 = 0
        self.is_refused: bool = False
        self.has_ce: bool = False
        self.protocol: i64 = 0  # of the first fragment, as are these
        self.traffic_class: i64 = 0
        self.hop_limit: i64 = 0


@final
@mypyc_attr(native_class=True)
class Reassembler:
    """Holds incomplete packets of all flows; what is dropped is counted in counters."""

    def __init__(self, counters: Counters) -> None:
        self._counters: Final = counters
        self._packets: Final[dict[bytes, _Packet]] = {}  # the oldest first
        self._memory: i64 = 0
        self._scratch: Final = BytesWriter()

    def __len__(self) -> int:
        return len(self._packets)

    def add(self, frame: bytes, view: IpView, now: Micros) -> bytes | None:
        """Take the fragment that view locates in frame; return the whole packet's frame when it is the last.

        The frame returned is as if it came from the device: plain, nothing verified, to be parsed again,
        which will find it OK and no fragment. Options and extension headers in front of the fragments are
        left out.
        """
        self._expire(now)
        key = _key(frame, view)
        packet = self._packets.get(key)
        if packet is None:
            source = frame[view.src_off : view.src_off + view.address_len]
            if len(self._packets) >= MAX_PACKETS:
                self._give_up(self._oldest(source), FRAGMENT_LIMIT)
            packet = _Packet(source, now)
            self._packets[key] = packet
        if packet.is_refused:
            self._counters.drop(FRAGMENT)
            return None
        reason = self._insert(packet, frame, view)
        if reason != OK:
            self._counters.drop(reason)
            self._refuse(packet)
            return None
        if packet.total == packet.received:
            self._forget(key)
            return self._checked(self._whole(packet, view, frame), view)
        while self._memory > MAX_MEMORY:
            self._give_up(self._oldest(packet.source), FRAGMENT_LIMIT)
        return None

    def _oldest(self, source: bytes) -> bytes:
        """Return the key of who gives way to source: its own oldest packet where it holds very many."""
        first = b""
        count: i64 = 0
        for key, packet in self._packets.items():
            if packet.source == source:
                if count == 0:
                    first = key
                count += 1
        return first if count >= MAX_OF_SOURCE else next(iter(self._packets))

    def _checked(self, whole: bytes, view: IpView) -> bytes | None:
        """Return whole, whose header chain may continue behind the fragment header, unless it is wrong."""
        reason = parse_ip(whole, VNET_LEN, len(whole), view)
        if reason == OK and view.is_fragment:  # fragments of fragments: no honest sender makes them
            reason = FRAGMENT
        if reason == OK:
            return whole
        self._counters.drop(reason)
        return None

    def _insert(self, packet: _Packet, frame: bytes, view: IpView) -> i64:
        """Add the fragment to packet; return OK, or the reason why packet can never be whole."""
        start = view.fragment_off
        size = view.end - view.payload_off
        end = start + size
        head_len = 0 if view.is_ipv6 else IPV4_LEN
        if size == 0 or end + head_len > MAX_PACKET or (view.more_fragments and size & 7 != 0):
            return FRAGMENT
        starts = packet.starts
        pieces = packet.pieces
        count = len(starts)
        at = bisect_right(starts, start)  # the first piece that starts behind us
        if at > 0:
            before_start = starts[at - 1]
            before = pieces[at - 1]
            if before_start + len(before) > start:
                if before_start == start and before == frame[view.payload_off : view.end]:
                    self._counters.drop(FRAGMENT)
                    return OK
                return FRAGMENT_OVERLAP
        if at < count and starts[at] < end:
            return FRAGMENT_OVERLAP
        if view.more_fragments:
            if 0 <= packet.total < end:
                return FRAGMENT_OVERLAP
        else:
            if packet.total >= 0 or at < count:
                return FRAGMENT_OVERLAP
            packet.total = end
        if start == 0:
            packet.protocol = view.protocol
            packet.traffic_class = view.traffic_class
            packet.hop_limit = view.hop_limit
        if view.traffic_class & 3 == _CONGESTION_EXPERIENCED:
            packet.has_ce = True
        starts.insert(at, start)
        pieces.insert(at, frame[view.payload_off : view.end])
        packet.received += size
        packet.memory += size + _OVERHEAD
        self._memory += size + _OVERHEAD
        return OK

    def _whole(self, packet: _Packet, view: IpView, frame: bytes) -> bytes:
        """Return packet as a frame; view and frame are those of any of its fragments."""
        out = self._scratch
        out.truncate(0)
        out.write(PLAIN)
        traffic_class = packet.traffic_class
        if packet.has_ce and traffic_class & 3 != 0:
            traffic_class |= _CONGESTION_EXPERIENCED
        life = (packet.hop_limit << 8) | packet.protocol
        addresses = frame[view.src_off : view.src_off + 2 * view.address_len]
        if view.is_ipv6:
            put32(out, 0x6000_0000 | (traffic_class << 20))
            put32(out, (packet.total << 16) | (packet.protocol << 8) | packet.hop_limit)
        else:
            total_len = IPV4_LEN + packet.total
            put16(out, 0x4500 | traffic_class)
            put16(out, total_len)
            put32(out, 0)
            put16(out, life)
            put16(out, ~checksum(addresses, 0, 8, 0x4500 + traffic_class + total_len + life))
        out.write(addresses)
        for piece in packet.pieces:
            out.write(piece)
        return out.getvalue()

    def _expire(self, now: Micros) -> None:
        while len(self._packets) > 0:
            key = next(iter(self._packets))
            if now - self._packets[key].started_at < LIFETIME:
                return
            self._give_up(key, FRAGMENT_TIMEOUT)

    def _refuse(self, packet: _Packet) -> None:
        self._memory -= packet.memory
        packet.memory = 0
        packet.pieces = []
        packet.starts = []
        packet.is_refused = True

    def _give_up(self, key: bytes, reason: i64) -> None:
        if not self._forget(key).is_refused:
            self._counters.drop(reason)

    def _forget(self, key: bytes) -> _Packet:
        packet = self._packets.pop(key)
        self._memory -= packet.memory
        return packet


def _key(frame: bytes, view: IpView) -> bytes:
    """Return what the fragments of one packet, and of no other, have in common."""
    addresses = frame[view.src_off : view.src_off + 2 * view.address_len]
    if view.is_ipv6:
        at = view.unfragmentable_end
        return addresses + frame[at + 4 : at + 8]
    at = view.ip_off
    return addresses + frame[at + 4 : at + 6] + frame[at + 9 : at + 10]
