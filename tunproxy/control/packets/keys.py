"""Which flow a packet is of, whatever it looks like: fragments, options, extension headers, ICMP.

A key is the run of addresses and ports that plain packets of the flow's client have; of pings, addresses
alone.
"""

from dataclasses import dataclass
from typing import Final

from tunproxy.flow.queues import queue_of
from tunproxy.loop.copying import turned
from tunproxy.wire.ip import ICMP, ICMPV6, TCP, UDP, IpView, parse_ip
from tunproxy.wire.reasons import OK
from tunproxy.wire.vnet import VNET_LEN

_ICMP_HEADER: Final = 8
_V4_ERRORS: Final = frozenset((3, 4, 5, 11, 12))  # RFC 792
_V6_INFORMATIONAL: Final = 128  # RFC 4443 §2.1: lower types are errors

# our choice: fragmented packets whose ports are remembered
MOST_FRAGMENTED: Final = 256


@dataclass(frozen=True, slots=True)
class Ends:
    """A packet's protocol and key, and from where to where its client sends; a port that it has not is 0."""

    protocol: int
    key: bytes
    client: bytes
    client_port: int
    target: bytes
    target_port: int


class PacketKeys:
    """Remembers the ports of fragmented packets, which stand in the first fragment only."""

    def __init__(self) -> None:
        self._view: Final = IpView()
        self._fragmented: Final[dict[bytes, tuple[int, int]]] = {}

    def ends(self, frame: bytes, is_up: bool) -> Ends | None:
        """Return the ends of a frame's packet, which may be cut; None for one that says nothing of any."""
        plain = _plain(frame)
        if plain is not None:
            return ends_of(plain[0], plain[1] if is_up else turned(plain[1]))
        view = self._view
        if parse_ip(frame, VNET_LEN, len(frame), view) != OK:
            return None
        protocol, at, end = int(view.protocol), int(view.payload_off), int(view.end)
        size = int(view.address_len)
        source = frame[view.src_off : view.src_off + size]
        target = frame[view.dst_off : view.dst_off + size]
        if protocol in (ICMP, ICMPV6) and not view.is_fragment:
            quoted = _quoted(frame, at, end, size)
            if quoted is not None:  # what is quoted went the other way
                return _ends(*quoted, is_up=not is_up)
        ports: tuple[int, int] | None = (0, 0)
        if protocol in (TCP, UDP):
            if view.is_fragment:
                ports = self._ports_of_fragment(frame, source + target)
            elif at + 4 <= end:
                ports = _ports(frame, at)
        return None if ports is None else _ends(protocol, source, target, *ports, is_up=is_up)

    def _ports_of_fragment(self, frame: bytes, addresses: bytes) -> tuple[int, int] | None:
        view = self._view
        name = addresses + bytes([int(view.protocol)]) + int(view.identification).to_bytes(4, "big")
        at = int(view.payload_off)
        if view.fragment_off == 0 and at + 4 <= view.end:
            if len(self._fragmented) >= MOST_FRAGMENTED:
                del self._fragmented[next(iter(self._fragmented))]
            self._fragmented[name] = _ports(frame, at)
        return self._fragmented.get(name)


def ends_of(protocol: int, key: bytes) -> Ends:
    """Return what a key says."""
    size = (len(key) - 4) // 2
    client_port, target_port = _ports(key, 2 * size)
    return Ends(protocol, key, key[:size], client_port, key[size : 2 * size], target_port)


def queue_of_ends(ends: Ends, queues: int) -> int:
    """Return the queue, and so the worker, that packets of these ends belong to (``flow.queues``)."""
    size = len(ends.client)
    view = IpView()
    view.is_ipv6 = size == 16
    view.protocol = ends.protocol
    view.src_off, view.dst_off, view.address_len, view.payload_off = 0, size, size, 2 * size
    view.end = len(ends.key)
    if ends.protocol in (TCP, UDP):
        return int(queue_of(ends.key, view, queues))
    view.end += 4
    request = b"\x80\0\0\0" if view.is_ipv6 else b"\x08\0\0\0"
    return int(queue_of(ends.key[: 2 * size] + request + bytes(4), view, queues))


def _plain(frame: bytes) -> tuple[int, bytes] | None:
    """Return protocol and run of addresses and ports of plain headers, whose packet may be cut."""
    if len(frame) >= VNET_LEN + 24 and frame[VNET_LEN] == 0x45:
        key, protocol = frame[VNET_LEN + 12 : VNET_LEN + 24], frame[VNET_LEN + 9]
        if frame[VNET_LEN + 6] & 0x3F or frame[VNET_LEN + 7]:
            return None
    elif len(frame) >= VNET_LEN + 44 and frame[VNET_LEN] >> 4 == 6:
        key, protocol = frame[VNET_LEN + 8 : VNET_LEN + 44], frame[VNET_LEN + 6]
    else:
        return None
    return (protocol, key) if protocol in (TCP, UDP) else None


def _quoted(frame: bytes, at: int, end: int, size: int) -> tuple[int, bytes, bytes, int, int] | None:
    """Return protocol, addresses and ports of the packet that an ICMP error quotes; None where it is none."""
    quote = at + _ICMP_HEADER
    if at + 1 > end or (frame[at] not in _V4_ERRORS if size == 4 else frame[at] >= _V6_INFORMATIONAL):
        return None
    header = (frame[quote] & 0xF) * 4 if size == 4 and quote < end else 40
    if quote + header > end or frame[quote] >> 4 != (4 if size == 4 else 6):
        return None
    protocol = frame[quote + (9 if size == 4 else 6)]
    first = quote + (12 if size == 4 else 8)
    source, target = frame[first : first + size], frame[first + size : first + 2 * size]
    has_ports = protocol in (TCP, UDP) and quote + header + 4 <= end
    return protocol, source, target, *(_ports(frame, quote + header) if has_ports else (0, 0))


def _ends(
    protocol: int, source: bytes, target: bytes, source_port: int, target_port: int, *, is_up: bool
) -> Ends:
    key = source + target + source_port.to_bytes(2, "big") + target_port.to_bytes(2, "big")
    return ends_of(protocol, key if is_up else turned(key))


def _ports(octets: bytes, at: int) -> tuple[int, int]:
    return int.from_bytes(octets[at : at + 2], "big"), int.from_bytes(octets[at + 2 : at + 4], "big")
