"""Addresses as the kernel writes them, which is how answers find the target that the client knows.

    IPv4    0 family  2 port  4 address                             8 octets (the zeroes behind are left out)
    IPv6    0 family  2 port  4 flow  8 address  24 scope          28 octets

The family is in the host's order, which is little-endian on every machine we run on, the port is not.
"""

import socket
from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from tunproxy.wire.bits import put16, put16_le, put32, u16

_INET: Final[i64] = int(socket.AF_INET)
_INET6: Final[i64] = int(socket.AF_INET6)
_inet_ntop: Final = socket.inet_ntop
_inet_pton: Final = socket.inet_pton


def name_of(packed: bytes, port: i64) -> bytes:
    """Return the kernel's name for this packed address and port; its scope is 0."""
    out = BytesWriter()
    put16_le(out, _INET if len(packed) == 4 else _INET6)
    put16(out, port)
    if len(packed) == 4:
        out.write(packed)
    else:
        put32(out, 0)
        out.write(packed)
        put32(out, 0)
    return out.getvalue()


def packed_of(name: bytes) -> bytes:
    """Return the packed address in a name."""
    return name[4:8] if len(name) == 8 else name[8:24]


def port_of(name: bytes) -> i64:
    """Return the port in a name."""
    return u16(name, 2)


def address_of(packed: bytes, port: i64) -> tuple[str, int]:
    """Return what a socket's methods take for this packed address and port."""
    return (_inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed), int(port))


def pack(host: str) -> bytes:
    """Return the packed form of an IP address; b"" for what is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return _inet_pton(family, host.partition("%")[0])
    except OSError:
        return b""
