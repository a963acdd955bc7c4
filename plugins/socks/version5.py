"""SOCKS 5 (RFC 1928) with user and password (RFC 1929): the client's side, without I/O."""

import errno
import os
from typing import Final

from tunproxy.plugin.api import IPV6 as IPV6_TARGETS
from tunproxy.plugin.api import NAMES, UDP, Conversation, OpenError

CONNECT: Final = 1
UDP_ASSOCIATE: Final = 3

IPV4: Final = 1
NAME: Final = 3
IPV6: Final = 4

NO_LOGIN: Final = 0
LOGIN: Final = 2
NOTHING_ACCEPTABLE: Final = 0xFF
_WITHOUT_LOGIN: Final = bytes((5, NO_LOGIN))

# What the proxy says of the target (RFC 1928 §6), and what that is here; anything else is about the proxy.
_ABOUT_TARGET: Final = {
    3: errno.ENETUNREACH,
    4: errno.EHOSTUNREACH,
    5: errno.ECONNREFUSED,
    6: errno.EHOSTUNREACH,  # TTL expired
}
_ABOUT_PROXY: Final = {
    1: "general failure of the proxy",
    2: "the proxy's rules do not allow it",
    7: "the proxy does not know the command",
    8: "the proxy does not know this kind of address",
}


# what is waited for
_METHOD: Final = 0
_LOGIN: Final = 1
_REPLY: Final = 2


class Socks5Conversation(Conversation):
    """Asks for one target; host, where it is known, goes to the proxy instead of the packed target.

    Made for every flow: it refers to nothing that refers back to it, so that nobody has to look for cycles,
    and what only failures need is computed when they happen.
    """

    __slots__ = ("_command", "_does_pipeline", "_heard", "_login", "_needs", "_reply", "_request", "_step")

    def __init__(
        self,
        command: int,
        target: bytes,
        port: int,
        host: str = "",
        login: tuple[str, str] = ("", ""),
        *,
        does_pipeline: bool = False,
    ) -> None:
        super().__init__()
        self._request: Final = bytes((5, command, 0)) + address(target, host) + port.to_bytes(2, "big")
        self._command: Final = command
        self._needs: Final = NAMES if host else (IPV6_TARGETS if len(target) == 16 else "")
        self._login: Final = login
        self._does_pipeline: Final = does_pipeline and not login[0]
        self._step = _METHOD
        self._heard = b""
        self._reply = b""

    @property
    def bound_kind(self) -> int:
        """What kind of address the proxy named, once it is over: IPV4, IPV6, or NAME."""
        return self._reply[3]

    @property
    def bound(self) -> tuple[bytes, int]:
        """The address that the proxy named, packed or a name, and its port, once it is over."""
        reply = self._reply
        return reply[5 if reply[3] == NAME else 4 : -2], int.from_bytes(reply[-2:], "big")

    def begin(self) -> bytes:
        if self._does_pipeline:
            return b"\x05\x01\x00" + self._request
        # A proxy that wants no login picks the other: some refuse whoever offers one method only.
        return b"\x05\x02\x00\x02" if self._login[0] else b"\x05\x01\x00"

    def heard(self, data: bytes) -> bytes:
        if data == _WITHOUT_LOGIN and self._step == _METHOD and not self._heard:  # as nearly all answer
            self._step = _REPLY
            return b"" if self._does_pipeline else self._request
        self._heard = self._heard + data if self._heard else data
        words = b""
        if self._step == _METHOD:
            words = self._on_method()
        if self._step == _LOGIN:
            words += self._on_login()
        if self._step == _REPLY:
            self._on_reply()
        return words

    def _on_method(self) -> bytes:
        heard = self._heard
        if len(heard) < 2:
            return b""
        self._heard = heard[2:]
        if heard[0] != 5:
            raise OpenError(f"the proxy does not speak SOCKS 5: it began with octet 0x{heard[0]:02x}")
        method = heard[1]
        if method == NO_LOGIN:
            self._step = _REPLY
            return b"" if self._does_pipeline else self._request
        if method == LOGIN and self._login[0]:
            self._step = _LOGIN
            user, password = (text.encode() for text in self._login)
            return bytes((1, len(user))) + user + bytes((len(password),)) + password
        if method == NOTHING_ACCEPTABLE:
            has = "takes another login than user and password" if self._login[0] else "wants a login"
            raise OpenError(f"the proxy {has}")
        raise OpenError(f"the proxy chose login method {method}, which was not offered")

    def _on_login(self) -> bytes:
        heard = self._heard
        if len(heard) < 2:
            return b""
        self._heard = heard[2:]
        if heard[1] != 0:  # some proxies get the version wrong; only the status matters
            raise OpenError(f"the proxy does not accept user {self._login[0]!r} with this password")
        self._step = _REPLY
        return self._request

    def _on_reply(self) -> None:
        heard = self._heard
        if len(heard) < 2:
            return
        if heard[0] != 5:
            raise OpenError(f"the proxy's answer is not SOCKS 5: it began with octet 0x{heard[0]:02x}")
        if heard[1] != 0:
            raise _failure(heard[1], self._lacks(heard[1]))
        if len(heard) < 5:
            return
        kind = heard[3]
        if kind == IPV4:
            end = 10
        elif kind == IPV6:
            end = 22
        elif kind == NAME:
            end = 7 + heard[4]
        else:
            raise OpenError(f"the proxy names an address of the unknown kind {kind}")
        if len(heard) >= end:
            self._reply = heard[:end]
            self.rest = heard[end:]
            self._heard = b""
            self.is_over = True

    def _lacks(self, code: int) -> str:
        """Return the ability that a code says the proxy has not, "" where it says nothing of that."""
        if code == 7:
            return UDP if self._command == UDP_ASSOCIATE else ""
        return self._needs if code == 8 else ""


def address(target: bytes, host: str) -> bytes:
    """Return an address as it stands in requests (RFC 1928 §5): the name if there is one, else the target's.

    Raises OpenError for a name that does not fit.
    """
    if host:
        name = host.encode("ascii", "replace")
        if len(name) > 255:
            raise OpenError(f"cannot ask a SOCKS proxy for a name of {len(name)} octets")
        return bytes((NAME, len(name))) + name
    return bytes((IPV4 if len(target) == 4 else IPV6,)) + target


def _failure(code: int, lacks: str) -> OSError | OpenError:
    if code in _ABOUT_TARGET:
        number = _ABOUT_TARGET[code]
        return OSError(number, f"the proxy says: {os.strerror(number).lower()}")
    return OpenError(_ABOUT_PROXY.get(code, f"the proxy says no with the unknown code {code}"), lacks=lacks)
