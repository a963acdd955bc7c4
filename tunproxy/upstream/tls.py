"""TLS to an upstream, through OpenSSL's engine without I/O: a handshake in a coroutine, then a codec."""

import asyncio
import socket
import ssl
from typing import Final

from tunproxy.flow.codec import MOST_DECODED, Codec
from tunproxy.flow.layered import Layered
from tunproxy.upstream.base import OpenError
from tunproxy.upstream.tls_client import TlsClient, client_of
from tunproxy.upstream.tls_faults import speaks_none, tls_words

MOST_IN_RECORD: Final = 1 << 14  # octets (RFC 8446 §5.1)

READ_SIZE: Final = 1 << 14  # octets; our choice: of a handshake, which has few


class NoTlsError(OpenError):
    """What the server said, or its hanging up without a word, was no TLS."""


class TlsSession(Codec):
    """One end of a session, whichever it is.

    A stream that ends without close_notify raises: it may have been cut.
    """

    def __init__(self, arrived: ssl.MemoryBIO, leaving: ssl.MemoryBIO, session: ssl.SSLObject) -> None:
        self._arrived: Final = arrived
        self._leaving: Final = leaving
        self._session: Final = session
        self._kept = b""  # in the clear, and not returned yet
        self._has_more = False
        self._has_ended = False
        self._has_heard = False  # something of the stream

    def shake(self, data: bytes) -> bool:
        """Take what arrived; tell whether the handshake is over. Raises ssl.SSLError."""
        self._arrived.write(data)
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self._has_more = (
            self._arrived.pending > 0
        )  # the other end may have said something of the stream already
        return True

    def last_words(self) -> bytes:
        """Return what the session still wants to say after it has failed: the alert."""
        return self._leaving.read()

    def encode(self, data: bytes | memoryview) -> bytes:
        left = memoryview(data)
        write = self._session.write
        while left:
            left = left[write(left) :]
        return self._leaving.read()

    def keeps(self) -> bool:
        return False

    def end(self) -> bytes:
        # Saying the end, OpenSSL looks for the other one's too, and loses whole records that it meets.
        while self._arrived.pending:
            clear = self._read()
            if not clear:
                break
            self._kept += clear
        try:
            self._session.unwrap()
        except ssl.SSLError:
            pass  # the other end has not said the same, and need not (RFC 8446 §6.1)
        self._has_more = len(self._kept) > 0
        return self._leaving.read()

    def decode(self, data: bytes) -> bytes:
        if data:
            self._arrived.write(data)
        if self._kept:
            clear, self._kept = self._kept[:MOST_DECODED], self._kept[MOST_DECODED:]
            self._has_more = len(self._kept) > 0 or self._arrived.pending > 0
            return clear
        return self._read()

    def _read(self) -> bytes:
        """Decode what has arrived, as much as may be returned at once."""
        arrived = self._arrived
        read = self._session.read
        found = []
        filled = 0
        self._has_more = False
        try:
            # Asking the session once more, to hear that there is nothing, would cost an exception.
            while arrived.pending:
                if filled + MOST_IN_RECORD > MOST_DECODED:
                    self._has_more = True
                    break
                piece = read(MOST_IN_RECORD)
                if not piece:
                    self._has_ended = True
                    break
                found.append(piece)
                filled += len(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._has_ended = True
        if found:
            self._has_heard = True
        return found[0] if len(found) == 1 else b"".join(found)

    def has_more(self) -> bool:
        return self._has_more

    def answer(self) -> bytes:
        return self._leaving.read()

    def has_ended(self) -> bool:
        return self._has_ended

    def decode_end(self) -> bytes:
        if not self._has_ended:
            raise ConnectionResetError("the stream ended without TLS's own end: it may have been cut off")
        return b""


class TlsCodec(TlsSession):
    """Our end of a session with an upstream."""

    def __init__(self, tls: ssl.SSLContext | TlsClient, server_name: str) -> None:
        self._client: Final = client_of(tls)
        self._server_name: Final = server_name
        self._wants_session = self._client.does_resume
        arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        kept = self._client.session_for(server_name)
        wrap = self._client.context.wrap_bio
        super().__init__(arrived, leaving, wrap(arrived, leaving, server_hostname=server_name, session=kept))

    def advance_handshake(self, data: bytes) -> tuple[bytes, bool]:
        """Take what arrived; return what to send, and whether the handshake is over.

        Raises ssl.SSLError and PinError. A server that is not trusted has not been told anything by then: not
        who we are, and nothing of the stream.
        """
        try:
            if not self.shake(data):
                return self._leaving.read(), False
        except ssl.SSLError:
            self._client.forget(self._server_name)
            raise
        client, session = self._client, self._session
        if client.pins:
            client.check(session.getpeercert(binary_form=True))
        if session.session_reused:
            client.resumed += 1
            self._wants_session = False  # the one that is kept is good still
        elif self._wants_session and session.version() != "TLSv1.3":
            self._keep_session()
        return self._leaving.read(), True

    def decode(self, data: bytes) -> bytes:
        was_kept = len(self._kept) > 0
        clear = super().decode(data)
        if clear and not was_kept and self._wants_session:  # TLS 1.3 sends it before the stream
            self._keep_session()
        return clear

    def on_reset(self) -> None:
        if not self._has_heard and not self._client.has_certificate:  # the alert may have been overtaken
            why = "it has reset the connection after the TLS handshake"
            raise OpenError(f"{why} (does it want a certificate of ours: certificate-file?)")

    def _keep_session(self) -> None:
        """Keep the session for the next connections. Once: Python copies it, which takes almost 1 ms."""
        self._wants_session = False
        self._client.keep(self._server_name, self._session.session)


async def start_tls(
    sock: socket.socket,
    tls: ssl.SSLContext | TlsClient,
    server_name: str,
    *,
    under: Codec | None = None,
    early: bytes = b"",
) -> Codec:
    """Shake hands over sock, which is connected and non-blocking; return the session.

    Where there is a codec under it already, the handshake goes through that, and what is returned is both;
    early is what has been read of it. Raises ssl.SSLError where the other end cannot be trusted, PinError
    where it is not the pinned one, NoTlsError where it speaks something else, OpenError where it hangs up.
    """
    loop = asyncio.get_running_loop()
    codec = TlsCodec(tls, server_name)
    words, is_over = codec.advance_handshake(b"")
    data = early
    has_answered = False
    while True:
        if words:
            await loop.sock_sendall(sock, words if under is None else under.encode(words) + under.flush())
        if is_over:
            return codec if under is None else Layered(codec, under)
        if not data and under is not None and under.has_more():
            data = under.decode(b"")
        elif not data:
            try:
                data = await loop.sock_recv(sock, READ_SIZE)
            except ConnectionResetError:
                if has_answered:
                    raise
            if not data:
                why = "the proxy hung up in the middle of the TLS handshake"
                if has_answered:
                    raise OpenError(why)
                raise NoTlsError(f"{why}, without a word (does it speak TLS?)")
            if under is not None:
                data = under.decode(data)
        has_answered = has_answered or bool(data)
        try:
            words, is_over = codec.advance_handshake(data)
        except ssl.SSLError as error:
            if speaks_none(error):
                raise NoTlsError(tls_words(error)) from error
            alert = codec.last_words()
            if alert:
                await loop.sock_sendall(sock, alert if under is None else under.encode(alert) + under.flush())
            raise
        data = b""
