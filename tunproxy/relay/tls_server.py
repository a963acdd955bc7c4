"""TLS as the server, through OpenSSL's engine without I/O: contexts from files, and a codec."""

import ssl
from datetime import datetime
from pathlib import Path
from typing import Final

from tunproxy.errors import OptionError
from tunproxy.upstream.certificates import validities
from tunproxy.upstream.tls import TlsSession
from tunproxy.upstream.tls_options import WARNS_BEFORE

CLIENT_HELLO: Final = 0x16  # the first octet of a handshake record (RFC 8446 §5.1)


def make_context(certificate: str, key: str, client_ca: str = "") -> ssl.SSLContext:
    """Return a context that shows certificate, and with client_ca wants one that those there have signed.

    Raises OptionError that names the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for option, path in (("certificate", certificate), ("key", key)):
        try:
            if path:  # which of the two cannot be read, OpenSSL does not say
                open(path, "rb").close()
        except OSError as error:
            raise OptionError(f"cannot use the {option} in {path!r}: {_why(error)}", option) from error
    whose = "key" if key else "certificate"

    def tell_password() -> str:  # else OpenSSL would ask at the terminal
        why = f"it is encrypted (openssl pkey -in {key or certificate} decrypts it)"
        raise OptionError(f"cannot use the key in {key or certificate!r}: {why}", whose)

    try:
        context.load_cert_chain(certificate, key or None, tell_password)
    except (OSError, ssl.SSLError) as error:
        files = f"{certificate!r} and {key!r}" if key else repr(certificate)
        is_key = getattr(error, "reason", "") == "KEY_VALUES_MISMATCH"
        why = f"cannot use the certificate in {files}: {_why(error)}"
        raise OptionError(why, whose if is_key else "certificate") from error
    if client_ca:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ssl.SSLError) as error:
            why = f"cannot use the certificates in {client_ca!r}: {_why(error)}"
            raise OptionError(why, "client_ca") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def warnings(certificate: str, now: datetime) -> list[str]:
    """Return what may be wrong with a file that ``make_context`` can use: dates, which clients look at."""
    try:
        found = validities(Path(certificate).read_bytes())
    except (OSError, ValueError):  # OpenSSL has read more into it than the library does
        return []
    hint = "clients refuse it: get a new one"
    words = [f"{each.subject} {each.fault(now)} ({hint})" for each in found if each.fault(now)]
    left = found[0].days_left(now)
    if not words and left < WARNS_BEFORE and found[0].is_late(now):
        words.append(f"{found[0].subject} expires in {left:.1f} days")
    return [f"certificate {certificate}: {each}" for each in words]


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return (error.strerror or str(error)).lower()


class ServerTls(TlsSession):
    """Our end of a client's session."""

    def __init__(self, context: ssl.SSLContext) -> None:
        arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        super().__init__(arrived, leaving, context.wrap_bio(arrived, leaving, server_side=True))

    def advance_handshake(self, data: bytes) -> tuple[bytes, bool]:
        """Take what arrived; return what to send, and whether the handshake is over. Raises ssl.SSLError."""
        is_over = self.shake(data)
        return self._leaving.read(), is_over
