"""How a datagram says where it goes, or where it comes from, while it is on its way through a proxy.

    to the proxy      header_for(target) ‖ payload      the same header for every datagram to one target
    from the proxy    header ‖ payload                  the header names the source

Both directions cost one slice and no parsing once the first datagram has passed: what arrives is cut at
``payload_off``, and its header, octets that they are, is looked up among those that were seen before. Only
a header that is new is read, with ``source_of``.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

MAX_HEADER: Final[i64] = 262  # octets: SOCKS 5 with a name of 255

# what payload_off says of a datagram that has to be dropped
CUT_OFF: Final[i64] = -1  # it ends within its header
FRAGMENT: Final[i64] = -2  # part of a datagram; nobody sends such, and we need not put them together
UNKNOWN: Final[i64] = -3  # its header is none


@final
@mypyc_attr(native_class=True, acyclic=True)
class Source:
    """Who sent a datagram: a packed address, or b"" and the name that the proxy knows it by; and its port."""

    def __init__(self, address: bytes, name: str, port: i64) -> None:
        self.address: Final = address
        self.name: Final = name
        self.port: Final = port


@mypyc_attr(allow_interpreted_subclasses=True)
class Framing:
    """What stands in front of the payload of each datagram; this one: nothing. Does no I/O, never raises."""

    def header_for(self, target: bytes, port: i64, host: str = "") -> bytes:
        """Return what goes in front of datagrams to target, a packed address, or to host where that is known.

        host has at most 255 octets.
        """
        return b""

    def payload_off(self, head: bytes) -> i64:
        """Return where the payload begins, or a negative reason to drop the datagram.

        head is the datagram, or its first MAX_HEADER octets.
        """
        return 0

    def source_of(self, header: bytes) -> Source | None:
        """Return whom a header of an arrived datagram names; None for the one that the socket talks to."""
        return None
