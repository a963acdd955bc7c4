"""CONNECT (RFC 9110 §9.3.6, RFC 9112): the client's side, without I/O."""

import base64
import errno
import re
import socket
from typing import Final

from tunproxy.plugin.api import ConfigError, Conversation, FlowInfo, OpenError, Secret

# our choice
MAX_HEAD: Final = 16_384

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: ([^\r\n]*))?\r?\n")
_END: Final = re.compile(rb"\r?\n\r?\n")


class ConnectConversation(Conversation):
    """Asks for one authority, "host:port"; login is the value of Proxy-Authorization, or ""."""

    def __init__(self, authority: str, login: str = "") -> None:
        super().__init__()
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if login:
            lines.append(f"Proxy-Authorization: {login}")
        self._request: Final = "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
        self._heard = b""

    def begin(self) -> bytes:
        return self._request

    def heard(self, data: bytes) -> bytes:
        self._heard += data
        while True:
            if not b"HTTP/1.".startswith(self._heard[:7]):
                raise OpenError(f"the proxy does not speak HTTP: it began with {self._heard[:16]!r}")
            end = _END.search(self._heard)
            if end is None:
                if len(self._heard) > MAX_HEAD:
                    raise OpenError(f"the head of the proxy's answer is longer than {MAX_HEAD} octets")
                return b""
            status = _STATUS_LINE.match(self._heard)
            if status is None:
                raise OpenError(f"the proxy answers with a broken status line: {_first_line(self._heard)!r}")
            code = int(status[1])
            self._heard = self._heard[end.end() :]
            if code >= 200:
                break  # what is below is an interim answer: the real one follows (RFC 9110 §15.2)
            if not self._heard:
                return b""
        if not 200 <= code < 300:
            raise _failure(code, (status[2] or b"").decode("latin-1"))
        # Whatever length the head claims, there is no body: the tunnel begins here (RFC 9110 §9.3.6).
        self.rest = self._heard
        self.is_over = True
        return b""


def authority_of(info: FlowInfo) -> str:
    """Return the target as it stands in a request: its name where it is known, else its address.

    Raises OpenError for a name that would not be one there.
    """
    host = info.host or socket.inet_ntop(info.family, info.target)
    if not (host.isascii() and host.isprintable() and " " not in host):  # whoever asks DNS makes names up
        raise OpenError(f"cannot ask an HTTP proxy for the name {host!r}")
    return f"[{host}]:{info.target_port}" if ":" in host else f"{host}:{info.target_port}"


def basic_login(name: str, user: str, password: Secret) -> str:
    """Return the value of Proxy-Authorization (RFC 7617), "" without a user; raises ConfigError."""
    if not user:
        if password:
            raise ConfigError(f"upstream {name!r}: a password without a user")
        return ""
    if ":" in user:
        raise ConfigError(f"upstream {name!r}: a user with a colon cannot log in (RFC 7617 §2)")
    token = base64.b64encode(f"{user}:{password.reveal()}".encode()).decode()
    return f"Basic {token}"


def _failure(code: int, reason: str) -> OSError | OpenError:
    said = f"the proxy says: {code} {reason}".rstrip()
    if code == 504:
        return OSError(errno.ETIMEDOUT, said)
    if code in (500, 502, 503):  # most proxies answer so for whatever the target did
        return OSError(errno.ECONNREFUSED, said)
    if code == 407:
        return OpenError("the proxy wants another user or password (407)")
    return OpenError(said)


def _first_line(data: bytes) -> bytes:
    return data[:80].split(b"\n", 1)[0]
