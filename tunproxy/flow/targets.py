"""Where a packed address may be dialled: everywhere but at ourselves.

An application's loopback is its own; a packet for 127.0.0.1 or ::1 that comes out of the device is forged
or lost, and dialling it would reach services of the host that trust their loopback. The unspecified
address and IPv4 addresses written as IPv6 ones end there too. An explicit map entry comes first: that is
how one address may stand for the host's loopback or for its resolver.
"""

import socket
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

_MAPPED: Final = bytes(10) + b"\xff\xff"
_INET: Final = int(socket.AF_INET)
_INET6: Final = int(socket.AF_INET6)
MAX_TEXTS: Final = 1024  # our choice: addresses kept as text
_inet_ntop: Final = socket.inet_ntop


@final
@mypyc_attr(native_class=True)
class Targets:
    """Turns a target as the client wrote it into the address to dial.

    maps holds (packed address, port) pairs, port 0 meaning every port, and for each the address and port
    to dial instead, port 0 meaning the same one.
    """

    def __init__(self, maps: dict[tuple[bytes, int], tuple[str, int]]) -> None:
        self._maps: Final = dict(maps)
        self._has_maps: Final = len(maps) > 0
        self._texts: Final[dict[bytes, str]] = {}

    def resolve(self, address: bytes, port: i64) -> tuple[str, int] | None:
        """Return (address, port) to dial, or None where nothing may be dialled. Never raises."""
        if self._has_maps:
            found = self._maps.get((address, int(port)))
            if found is None:
                found = self._maps.get((address, 0))
            if found is not None:
                return (found[0], found[1] or int(port))
        if is_martian_target(address):
            return None
        return (self._text(address), int(port))

    def _text(self, address: bytes) -> str:
        """Return the address as text; a program tends to come back to where it was."""
        text = self._texts.get(address)
        if text is None:
            if len(self._texts) >= MAX_TEXTS:
                self._texts.clear()
            text = _inet_ntop(_INET if len(address) == 4 else _INET6, address)
            self._texts[address] = text
        return text


def is_martian_target(address: bytes) -> bool:
    """Tell whether no unicast flow may go to this packed address (RFC 6890 §2.2, RFC 4291 §2.5)."""
    if len(address) == 4:
        first = i64(address[0])
        return first == 0 or first == 127 or first >= 240
    if address[:12] == _MAPPED:
        return True
    return address[:15] == bytes(15) and i64(address[15]) <= 1


def is_multicast(address: bytes) -> bool:
    """Tell whether the packed address names a group or everybody (RFC 5771, RFC 4291 §2.7)."""
    first = i64(address[0])
    if len(address) == 4:
        return 224 <= first <= 239 or address == b"\xff\xff\xff\xff"
    return first == 255
