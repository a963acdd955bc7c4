"""TLS as the server, through OpenSSL's engine without I/O: contexts from files, and a codec."""

import ssl
from typing import Final

from tunproxy.errors import ConfigError
from tunproxy.flow.codec import Codec

# our choice: two records of the largest size
READ_SIZE: Final = 1 << 15
CLIENT_HELLO: Final = 0x16  # the first octet of a handshake record (RFC 8446 §5.1)


def make_context(certificate: str, key: str, client_ca: str = "") -> ssl.SSLContext:
    """Return a context that shows certificate, and with client_ca wants one that those there have signed.

    Raises ConfigError that names the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key or None)
    except (OSError, ssl.SSLError) as error:
        files = f"{certificate!r} and {key!r}" if key else repr(certificate)
        raise ConfigError(f"cannot use the certificate in {files}: {_why(error)}") from error
    if client_ca:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"cannot use the certificates in {client_ca!r}: {_why(error)}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return (error.strerror or str(error)).lower()


class ServerTls(Codec):
    """One TLS session of a client's. A stream that ends without close_notify raises: it may have been cut."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._arrived: Final = ssl.MemoryBIO()
        self._leaving: Final = ssl.MemoryBIO()
        self._session: Final = context.wrap_bio(self._arrived, self._leaving, server_side=True)
        self._has_ended = False

    def advance_handshake(self, data: bytes) -> tuple[bytes, bool]:
        """Take what arrived; return what to send, and whether the handshake is over. Raises ssl.SSLError."""
        self._arrived.write(data)
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return self._leaving.read(), False
        return self._leaving.read(), True

    def last_words(self) -> bytes:
        """Return what the session still wants to say after it has failed: the alert."""
        return self._leaving.read()

    def encode(self, data: bytes | memoryview) -> bytes:
        left = memoryview(data)
        while left:
            left = left[self._session.write(left) :]
        return self._leaving.read()

    def end(self) -> bytes:
        try:
            self._session.unwrap()
        except ssl.SSLError:
            pass  # the other end has not said the same, and need not (RFC 8446 §6.1)
        return self._leaving.read()

    def decode(self, data: bytes) -> bytes:
        self._arrived.write(data)
        found = []
        try:
            while True:
                piece = self._session.read(READ_SIZE)
                if not piece:
                    self._has_ended = True
                    break
                found.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._has_ended = True
        return found[0] if len(found) == 1 else b"".join(found)

    def answer(self) -> bytes:
        return self._leaving.read()

    def has_ended(self) -> bool:
        return self._has_ended

    def decode_end(self) -> bytes:
        if not self._has_ended:
            raise ConnectionResetError("the stream ended without TLS's own end: it may have been cut off")
        return b""
