"""The header of SOCKS 5 in front of datagrams (RFC 1928 §7).

0 reserved  2 FRAG  3 ATYP  4 address          .. port ‖ payload
                    1       4 octets
                    3       length, name
                    4       16 octets
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
_ADDRESS_OFF: Final[i64] = 4


@final
@mypyc_attr(native_class=True)
class SocksFraming(Framing):
    """Framing of SOCKS 5. It does not fragment, and drops fragments, as §7 allows."""

    def header_for(self, target: bytes, port: i64, host: str = "") -> bytes:
        out = BytesWriter()
        put16(out, 0)
        out.append(u8(0))
        name = host.encode("ascii", "replace")
        if 0 < len(name) <= 255:
            out.append(u8(_NAME))
            out.append(u8(i64(len(name))))
            out.write(name)
        else:
            out.append(u8(_IPV4 if len(target) == 4 else _IPV6))
            out.write(target)
        put16(out, port)
        return out.getvalue()

    def payload_off(self, head: bytes) -> i64:
        size = i64(len(head))
        if size <= _ADDRESS_OFF:
            return CUT_OFF
        if head[_FRAG_OFF] != 0:
            return FRAGMENT
        kind = i64(head[_ATYP_OFF])
        if kind == _IPV4:
            end = _ADDRESS_OFF + 6
        elif kind == _IPV6:
            end = _ADDRESS_OFF + 18
        elif kind == _NAME:
            end = _ADDRESS_OFF + 3 + i64(head[_ADDRESS_OFF])
        else:
            return UNKNOWN
        return end if end <= size else CUT_OFF

    def source_of(self, header: bytes) -> Source | None:
        end = i64(len(header)) - 2
        port = u16(header, end)
        if i64(header[_ATYP_OFF]) == _NAME:
            return Source(b"", header[_ADDRESS_OFF + 1 : end].decode("ascii", "replace"), port)
        return Source(header[_ADDRESS_OFF:end], "", port)
