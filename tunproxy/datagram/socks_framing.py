"""Headers that hold an address as SOCKS 5 has it, in front of datagrams.

0 reserved  2 FRAG  3 ATYP  4 address          .. port ‖ payload       SOCKS 5 (RFC 1928 §7)
                    0 ATYP  1 address          .. port ‖ payload       Shadowsocks (SIP007)
                    1         4 octets
                    3         length, name
                    4         16 octets
"""

from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr, u8

from tunproxy.flow.framing import CUT_OFF, FRAGMENT, UNKNOWN, Framing, Source
from tunproxy.wire.bits import put16, u16

_IPV4: Final[i64] = 1
_NAME: Final[i64] = 3
_IPV6: Final[i64] = 4
_FRAG_OFF: Final[i64] = 2
_ATYP_OFF: Final[i64] = 3


@final
@mypyc_attr(native_class=True)
class SocksFraming(Framing):
    """Framing of SOCKS 5. It does not fragment, and drops fragments, as §7 allows."""

    def header_for(self, target: bytes, port: i64, host: str = "") -> bytes:
        out = BytesWriter()
        put16(out, 0)
        out.append(u8(0))
        put_address(out, target, port, host)
        return out.getvalue()

    def payload_off(self, head: bytes) -> i64:
        if i64(len(head)) > _ATYP_OFF and head[_FRAG_OFF] != 0:
            return FRAGMENT
        return address_end(head, _ATYP_OFF)

    def source_of(self, header: bytes) -> Source | None:
        return source_in(header, _ATYP_OFF)


@final
@mypyc_attr(native_class=True)
class AddressFraming(Framing):
    """An address and nothing else, which is what Shadowsocks seals with a payload."""

    def header_for(self, target: bytes, port: i64, host: str = "") -> bytes:
        out = BytesWriter()
        put_address(out, target, port, host)
        return out.getvalue()

    def payload_off(self, head: bytes) -> i64:
        return address_end(head, 0)

    def source_of(self, header: bytes) -> Source | None:
        return source_in(header, 0)


def put_address(out: BytesWriter, target: bytes, port: i64, host: str) -> None:
    """Append a packed address, or host where that is known and fits, and the port."""
    name = host.encode("ascii", "replace")
    if 0 < len(name) <= 255:
        out.append(u8(_NAME))
        out.append(u8(i64(len(name))))
        out.write(name)
    else:
        out.append(u8(_IPV4 if len(target) == 4 else _IPV6))
        out.write(target)
    put16(out, port)


def address_end(head: bytes, at: i64) -> i64:
    """Return where the address ends whose ATYP is at at, or a negative reason to drop the datagram."""
    size = i64(len(head))
    if size <= at + 1:
        return CUT_OFF
    kind = i64(head[at])
    if kind == _IPV4:
        end = at + 7
    elif kind == _IPV6:
        end = at + 19
    elif kind == _NAME:
        end = at + 4 + i64(head[at + 1])
    else:
        return UNKNOWN
    return end if end <= size else CUT_OFF


def source_in(header: bytes, at: i64) -> Source:
    """Return the address whose ATYP is at at, and which ends where header does."""
    end = i64(len(header)) - 2
    port = u16(header, end)
    if i64(header[at]) == _NAME:
        return Source(b"", header[at + 2 : end].decode("ascii", "replace"), port)
    return Source(header[at + 1 : end], "", port)
