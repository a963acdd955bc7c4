"""SOCKS 4 and 4a: the client's side, without I/O."""

import errno
from typing import Final

from tunproxy.plugin.api import Conversation, OpenError

GRANTED: Final = 90
REFUSED: Final = 91
REPLY_LEN: Final = 8
_UNKNOWN_ADDRESS: Final = b"\x00\x00\x00\x01"  # says to a 4a proxy that a name follows


class Socks4Conversation(Conversation):
    """Asks for one target; a host is left to the proxy, which then has to speak 4a."""

    def __init__(self, target: bytes, port: int, host: str = "", user: str = "") -> None:
        super().__init__()
        if len(target) != 4 and not host:
            raise OSError(errno.ENETUNREACH, "SOCKS 4 has no IPv6")
        tail = user.encode() + b"\x00"
        if host:
            target = _UNKNOWN_ADDRESS
            tail += host.encode("ascii", "replace") + b"\x00"
        self._request: Final = b"\x04\x01" + port.to_bytes(2, "big") + target + tail
        self._heard = b""

    def begin(self) -> bytes:
        return self._request

    def heard(self, data: bytes) -> bytes:
        self._heard += data
        if self._heard[0] != 0:
            raise OpenError(f"the proxy does not speak SOCKS 4: it began with octet 0x{self._heard[0]:02x}")
        if len(self._heard) < REPLY_LEN:
            return b""
        code = self._heard[1]
        if code == REFUSED:  # or failed: the protocol does not tell these apart
            raise OSError(errno.ECONNREFUSED, "the proxy says: refused or failed")
        if code != GRANTED:
            raise OpenError(f"the proxy says no with code {code} (92 and 93: it wants to ask identd)")
        self.rest = self._heard[REPLY_LEN:]
        self.is_over = True
        return b""
