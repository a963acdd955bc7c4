"""What the first octets of a flow tell of the host that the client means.

A parser gets everything that has arrived so far and answers with one of three: a name, that more is
needed, or that there is none. What clients claim is no proof: it serves to find a rule, and by itself never
changes the address that is dialled.
"""

from dataclasses import dataclass
from typing import Final

from tunproxy.decide.sniff_http import host_in_request
from tunproxy.decide.sniff_quic import QuicReader, is_quic_initial
from tunproxy.decide.sniff_tls import server_name_in_records

# our choices
MAX_SNIFFED: Final = 16_384  # octets of a stream to wait for: a ClientHello with post-quantum keys has 2 KB
MAX_NAME: Final = 253  # RFC 1035 §2.3.4
# Their servers speak first: waiting for the client would delay both.
SERVER_FIRST: Final = frozenset({21, 22, 23, 25, 110, 119, 143, 587, 2525, 3306, 5900, 6667})

_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


@dataclass(frozen=True)
class Sniffed:
    """host is "" where the octets name none; protocol is "tls", "http", "quic", or "" for anything else.

    With needs_more, that is not settled yet.
    """

    host: str = ""
    protocol: str = ""
    needs_more: bool = False


NOTHING: Final = Sniffed()
MORE: Final = Sniffed(needs_more=True)


def is_worth_waiting(protocol: str, port: int) -> bool:
    """Tell whether a client of this port can be expected to speak first."""
    return protocol == "udp" or port not in SERVER_FIRST


def sniff_stream(data: bytes) -> Sniffed:
    """Return what the first octets of a TCP flow tell."""
    if not data:
        return MORE
    if data[0] == 0x16:
        found = server_name_in_records(data)
        protocol = "tls"
    else:
        found = host_in_request(data)
        protocol = "http"
    if found is None:
        return MORE if len(data) < MAX_SNIFFED else NOTHING
    name = clean_name(found)
    return Sniffed(name, protocol) if name else NOTHING


class DatagramSniffer:
    """Reads the first datagrams of one UDP flow, over several of which a QUIC ClientHello may be spread."""

    def __init__(self) -> None:
        self._quic: QuicReader | None = None

    def sniff(self, datagram: bytes) -> Sniffed:
        """Take the next datagram of the client's; return what all of them tell."""
        if self._quic is None:
            if not is_quic_initial(datagram):
                return NOTHING
            self._quic = QuicReader(datagram)
        found = self._quic.read(datagram)
        if found is None:
            return MORE
        name = clean_name(found)
        return Sniffed(name, "quic") if name else NOTHING


def clean_name(name: str) -> str:
    """Return a host name as rules write it, "" for what cannot be one; addresses are none."""
    name = name.lower().removesuffix(".")
    if not name or len(name) > MAX_NAME or not _LETTERS.issuperset(name):
        return ""
    labels = name.split(".")
    if any(not label or len(label) > 63 for label in labels) or labels[-1].isdecimal():
        return ""
    return name
