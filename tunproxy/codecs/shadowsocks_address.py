"""Addresses as Shadowsocks has them: those of SOCKS 5 (RFC 1928 §5).

0 ATYP  1 address          .. port
1         4 octets
3         length, name
4         16 octets
"""

from typing import Final

from tunproxy.codecs.shadowsocks_keys import ShadowsocksError
from tunproxy.flow.framing import Source

_IPV4: Final = 1
_NAME: Final = 3
_IPV6: Final = 4
MAX_ADDRESS: Final = 259  # octets, with a name of 255


def emit_address(target: bytes, port: int, host: str = "") -> bytes:
    """Return the form of a packed address, or of host where that is known; of at most 255 octets.

    Raises ShadowsocksError for a name that does not fit.
    """
    if host:
        name = host.encode("ascii", "replace")
        if len(name) > 255:
            raise ShadowsocksError(f"a name of {len(name)} octets cannot be asked for")
        return bytes((_NAME, len(name))) + name + port.to_bytes(2, "big")
    return bytes((_IPV4 if len(target) == 4 else _IPV6,)) + target + port.to_bytes(2, "big")


def address_end(data: bytes, at: int = 0) -> int:
    """Return where the address that begins at at ends, or -1 where more of it must be known.

    Raises ShadowsocksError for an address of no known kind.
    """
    if at >= len(data):
        return -1
    kind = data[at]
    if kind == _IPV4:
        end = at + 7
    elif kind == _IPV6:
        end = at + 19
    elif kind == _NAME:
        if at + 1 >= len(data):
            return -1
        if data[at + 1] == 0:
            raise ShadowsocksError("the target is a name without octets")
        end = at + 4 + data[at + 1]
    else:
        raise ShadowsocksError(f"the target is an address of the unknown kind {kind}")
    return end if end <= len(data) else -1


def parse_address(data: bytes, at: int, end: int) -> Source:
    """Return the address in data[at:end], which ``address_end`` has measured."""
    port = int.from_bytes(data[end - 2 : end], "big")
    if data[at] == _NAME:
        return Source(b"", data[at + 2 : end - 2].decode("ascii", "replace"), port)
    return Source(data[at + 1 : end - 2], "", port)
