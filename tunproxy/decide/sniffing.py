"""What the first octets of a flow tell of the host that the client means.

A parser gets everything that has arrived so far and answers with one of three: a name, that more is
needed, or that there is none. What clients claim is no proof: it serves to find a rule, and by itself never
changes the address that is dialled.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.decide.sniff_http import host_in_request
from tunproxy.decide.sniff_tls import server_name_in_records

# our choices
MAX_SNIFFED: Final = 16_384  # octets of a stream to wait for: a ClientHello with post-quantum keys has 2 KB
MAX_NAME: Final = 253  # RFC 1035 §2.3.4
MAX_LABEL: Final = 63
# Their servers speak first: waiting for the client would delay both.
SERVER_FIRST: Final = frozenset({21, 22, 23, 25, 110, 119, 143, 587, 2525, 3306, 5900, 6667})

_DOT: Final = 46


@final
@mypyc_attr(native_class=True, acyclic=True)
class Sniffed:
    """host is "" where the octets name none; protocol is "tls", "http", "quic", or "" for anything else.

    With needs_more, that is not settled yet.
    """

    def __init__(self, host: str = "", protocol: str = "", *, needs_more: bool = False) -> None:
        self.host: Final = host
        self.protocol: Final = protocol
        self.needs_more: Final = needs_more

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sniffed) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def __repr__(self) -> str:
        return f"Sniffed({self.host!r}, {self.protocol!r}, needs_more={self.needs_more})"

    def _parts(self) -> tuple[str, str, bool]:
        return self.host, self.protocol, self.needs_more


NOTHING: Final = Sniffed()
MORE: Final = Sniffed(needs_more=True)


def is_worth_waiting(protocol: str, port: int) -> bool:
    """Tell whether a client of this port can be expected to speak first."""
    return protocol == "udp" or port not in SERVER_FIRST


def sniff_stream(data: bytes) -> Sniffed:
    """Return what the first octets of a TCP flow tell."""
    if len(data) == 0:
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
    return Sniffed(name, protocol) if name != "" else NOTHING


def clean_name(name: str) -> str:
    """Return a host name as rules write it, "" for what cannot be one; addresses are none."""
    name = name.lower().removesuffix(".")
    if name == "" or len(name) > MAX_NAME or not name.isascii():
        return ""
    octets = name.encode()
    size = i64(len(octets))
    at: i64 = 0
    label: i64 = 0  # octets of the label so far
    is_number = True  # it has digits only
    while at < size:
        octet = i64(octets[at])
        at += 1
        if octet == _DOT:
            if label == 0:
                return ""
            label = 0
            is_number = True
            continue
        is_digit = 48 <= octet <= 57
        if not is_digit:
            is_number = False
            if not (97 <= octet <= 122 or octet == 45 or octet == 95):  # a to z, a hyphen, an underscore
                return ""
        label += 1
        if label > MAX_LABEL:
            return ""
    return "" if label == 0 or is_number else name
