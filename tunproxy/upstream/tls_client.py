"""TLS as one upstream wants it: what is trusted, who we are, and the session of last time.

A server's certificate is held to what the context trusts, to pins, or to both; where a key is shared with
the server (PSK) there is none. Sessions are kept, so that a connection costs the server no signature and
us no check of its chain (RFC 8446 §2.2, RFC 5077): what they resume has been checked.
"""

import base64
import binascii
import re
import ssl
from collections.abc import Collection, Sequence
from typing import Final

from tunproxy.upstream.base import OpenError
from tunproxy.upstream.certificates import hashes

_HEX: Final = re.compile(r"(?:sha-?256(?: fingerprint)?[:= /]*)?([0-9a-f]{64})", re.IGNORECASE)
_BASE64: Final = re.compile(r"(?:sha-?256(?://|/(?!/)|:))?([A-Za-z0-9+/]{43}=?)", re.IGNORECASE)


class PinError(OpenError):
    """The server has another certificate, and another key, than the one that is pinned."""


class TlsClient:
    """Makes the sessions of one upstream. pins are what ``parse_pin`` returns; one of them must match.

    Where there are pins, the context may be one that trusts nobody and checks nothing.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        server_name: str = "",
        *,
        pins: Collection[str] = (),
        does_resume: bool = True,
        allows_plain: bool = False,
        has_certificate: bool = False,
        warnings: Sequence[str] = (),
    ) -> None:
        self.context: Final = context
        self.server_name: Final = server_name  # "" for that of the server
        self.warnings: Final = tuple(warnings)  # for whoever reads the configuration
        self.pins: Final = frozenset(pins)
        self.allows_plain: Final = allows_plain  # where the server speaks no TLS
        self.resumed = 0  # connections that took up a session again
        self.has_certificate: Final = has_certificate  # of ours, for servers that ask
        self.does_resume: Final = does_resume
        self._sessions: Final[dict[str, ssl.SSLSession]] = {}

    def session_for(self, server_name: str) -> ssl.SSLSession | None:
        """Return what a new connection can take up again."""
        return self._sessions.get(server_name)

    def keep(self, server_name: str, session: ssl.SSLSession | None) -> None:
        """Keep a session for the next connections, if it is one that can be taken up."""
        if session is not None and (session.has_ticket or session.id):
            self._sessions[server_name] = session

    def forget(self, server_name: str) -> None:
        """Begin anew with the next connection."""
        self._sessions.pop(server_name, None)

    def check(self, certificate: bytes | None) -> None:
        """Raise PinError unless the server's certificate, in DER, is one that is pinned."""
        if not self.pins:
            return
        if certificate is None:
            raise PinError("it has shown no certificate, and one is pinned (pin)")
        whole, key = hashes(certificate)
        if whole not in self.pins and key not in self.pins:
            seen = f"sha256:{whole}" + (f", with the key {written(key)}" if key else "")
            raise PinError(f"its certificate is not the pinned one: it is {seen} (pin says which it must be)")


def client_of(tls: "ssl.SSLContext | TlsClient") -> TlsClient:
    """Return tls as a client; a bare context makes one that keeps sessions."""
    return tls if isinstance(tls, TlsClient) else TlsClient(tls)


def parse_pin(text: str) -> str:
    """Return the SHA-256 that text means, in hexadecimal; raises ValueError.

    Of a certificate or of its public key, 64 hexadecimal digits as openssl prints them, with colons or
    without, or base64 as curl has it (``sha256//…``).
    """
    words = text.strip()
    found = _HEX.fullmatch(words.replace(":", "")) or _HEX.fullmatch(words)
    if found is not None:
        return found[1].lower()
    found = _BASE64.fullmatch(words)
    if found is not None:
        try:
            octets = base64.b64decode(found[1].rstrip("=") + "=", validate=True)
        except (ValueError, binascii.Error):
            octets = b""
        if len(octets) == 32:
            return octets.hex()
    raise ValueError(
        f"{text!r} is no SHA-256 (64 hexadecimal digits, or sha256// and base64; "
        "openssl x509 -noout -fingerprint -sha256 -in FILE prints that of a certificate)"
    )


def written(pin: str) -> str:
    """Return a pin in the form that curl has for keys."""
    return "sha256//" + base64.b64encode(bytes.fromhex(pin)).decode()
