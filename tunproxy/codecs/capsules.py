"""Capsules (RFC 9297 §3.2): what carries datagrams over a stream, as CONNECT-UDP has it (RFC 9298 §5).

    Type (i) ‖ Length (i) ‖ value               (i): an integer of 1, 2, 4 or 8 octets (RFC 9000 §16)
    DATAGRAM: Type 0, value = Context ID (i) ‖ payload; Context ID 0 is the payload of one UDP datagram

No I/O. Capsules of other types, and contexts that nobody has registered, are skipped, however long they are,
and without being kept.
"""

from typing import Final, final

from tunproxy.errors import RemoteProtocolError

DATAGRAM: Final = 0x00  # RFC 9297 §3.5
UDP_PAYLOAD: Final = 0x00  # Context ID (RFC 9298 §4)
MAX_UDP_PAYLOAD: Final = 65_527  # RFC 9298 §5: what is longer ends the stream

_MAX_VALUE: Final = MAX_UDP_PAYLOAD + 8  # with the longest way of writing the context


def emit_varint(value: int) -> bytes:
    """Return value, 0 to 2**62 - 1, in as few octets as possible (RFC 9000 §16)."""
    if value < 1 << 6:
        return bytes((value,))
    if value < 1 << 14:
        return (value | 1 << 14).to_bytes(2, "big")
    if value < 1 << 30:
        return (value | 2 << 30).to_bytes(4, "big")
    return (value | 3 << 62).to_bytes(8, "big")


def parse_varint(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return the integer at an offset and the offset behind it, which is -1 where data is too short."""
    if at >= len(data):
        return 0, -1
    size = 1 << (data[at] >> 6)
    end = at + size
    if end > len(data):
        return 0, -1
    return int.from_bytes(data[at:end], "big") & ((1 << (8 * size - 2)) - 1), end


def emit_datagram(payload: bytes) -> bytes:
    """Return the capsule of one UDP datagram, of at most MAX_UDP_PAYLOAD octets."""
    return datagram_header(len(payload)) + payload


def datagram_header(length: int) -> bytes:
    """Return what stands in front of a UDP payload of so many octets."""
    return b"\x00" + emit_varint(length + 1) + b"\x00"


@final
class CapsuleReader:
    """Finds the datagrams in a stream of capsules that arrives in pieces."""

    def __init__(self) -> None:
        self._kept: bytes = b""  # the beginning of a capsule, at most _MAX_VALUE octets and its head
        self._skip = 0  # octets of a capsule that is not wanted

    @property
    def is_between(self) -> bool:
        """Whether the stream may end here: no capsule has begun (RFC 9297 §3.3)."""
        return not self._kept and not self._skip

    def take(self, data: bytes) -> list[bytes]:
        """Take what arrived; return the payloads of the UDP datagrams that are complete now.

        Raises RemoteProtocolError for a datagram that is longer than any can be, or has no context.
        """
        found: list[bytes] = []
        at = 0
        if self._skip:
            at = min(self._skip, len(data))
            self._skip -= at
            if self._skip:
                return found
        if self._kept:
            data = self._kept + data[at:]
            self._kept = b""
            at = 0
        end = len(data)
        while at < end:
            kind, value_at = parse_varint(data, at)
            length, begin = parse_varint(data, value_at) if value_at >= 0 else (0, -1)
            if begin < 0:
                break
            if kind != DATAGRAM:
                self._skip = max(0, begin + length - end)
                at = min(begin + length, end)
                continue
            if length > _MAX_VALUE:
                raise RemoteProtocolError(f"a datagram of {length} octets is longer than any can be")
            if begin + length > end:
                break
            payload = _payload_of(data[begin : begin + length])
            if payload is not None:
                found.append(payload)
            at = begin + length
        self._kept = data[at:]
        return found


def _payload_of(value: bytes) -> bytes | None:
    """Return the UDP payload in a DATAGRAM capsule's value, None for a context that is not ours."""
    context, begin = parse_varint(value, 0)
    if begin < 0:
        raise RemoteProtocolError("a datagram without its context")
    if context != UDP_PAYLOAD:
        return None
    if len(value) - begin > MAX_UDP_PAYLOAD:
        raise RemoteProtocolError(f"a datagram of {len(value) - begin} octets is longer than any can be")
    return value[begin:]
