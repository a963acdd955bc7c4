"""TLS as a codec, against OpenSSL's own server side."""

import asyncio
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from tunproxy.upstream.base import OpenError
from tunproxy.upstream.tls import TlsCodec, start_tls

pytestmark = pytest.mark.needs("openssl")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a self-signed certificate for proxy.example."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
         "2", "-subj", "/CN=proxy.example", "-addext", "subjectAltName=DNS:proxy.example",
         "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


class Server:
    """The other end, without I/O as well."""

    def __init__(self, certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.arrived, self.leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.arrived, self.leaving, server_side=True)

    def shake(self, data: bytes) -> bytes:
        self.arrived.write(data)
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.leaving.read()

    def read(self, data: bytes) -> bytes:
        self.arrived.write(data)
        found = b""
        try:
            while piece := self.session.read():
                found += piece
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return found

    def write(self, data: bytes) -> bytes:
        self.session.write(data)
        return self.leaving.read()

    def end(self) -> bytes:
        try:
            self.session.unwrap()
        except ssl.SSLError:
            pass
        return self.leaving.read()


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


@pytest.fixture
def ends(certificate: Path) -> tuple[TlsCodec, Server]:
    """A client's codec and a server that have shaken hands."""
    codec, server = TlsCodec(trusting(certificate), "proxy.example"), Server(certificate)
    words, is_over = codec.advance_handshake(b"")
    while not is_over:
        words, is_over = codec.advance_handshake(server.shake(words))
    assert codec.decode(server.shake(words)) == b""  # session tickets
    return codec, server


def test_codec_carries_octets_both_ways(ends: tuple[TlsCodec, Server]) -> None:
    codec, server = ends
    data = bytes(range(256)) * 1000
    sent = codec.encode(memoryview(data))
    assert data[:64] not in sent
    assert server.read(sent) == data
    assert codec.decode(server.write(data)) == data


def test_codec_takes_records_in_pieces(ends: tuple[TlsCodec, Server]) -> None:
    codec, server = ends
    record = server.write(b"hello")
    assert codec.decode(record[:7]) == b""
    assert codec.decode(record[7:]) == b"hello"


def test_codec_ends_one_direction_and_still_reads_the_other(ends: tuple[TlsCodec, Server]) -> None:
    codec, server = ends
    assert server.read(codec.encode(b"last")) == b"last"
    assert server.read(codec.end()) == b""
    assert codec.decode(server.write(b"answer")) == b"answer"
    assert not codec.has_ended()
    assert codec.decode(server.end()) == b""
    assert codec.has_ended()
    assert codec.decode_end() == b""


def test_codec_stream_that_was_cut_off_is_an_error(ends: tuple[TlsCodec, Server]) -> None:
    codec, server = ends
    codec.decode(server.write(b"half of"))
    with pytest.raises(ConnectionResetError, match="cut off"):
        codec.decode_end()


def test_codec_flipped_bit_is_an_error(ends: tuple[TlsCodec, Server]) -> None:
    codec, server = ends
    record = bytearray(server.write(b"hello"))
    record[-1] ^= 1
    with pytest.raises(ssl.SSLError):
        codec.decode(bytes(record))


def shake(context: ssl.SSLContext, name: str, certificate: Path | None) -> TlsCodec:
    """Shake hands with a server over real sockets; without a certificate it hangs up at once."""

    async def run() -> TlsCodec:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)

        def serve() -> None:
            with theirs:
                if certificate is None:
                    theirs.recv(10)
                    return
                server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                server.load_cert_chain(certificate)
                try:
                    server.wrap_socket(theirs, server_side=True).close()
                except (ssl.SSLError, OSError):
                    pass

        with ours:
            other = asyncio.get_running_loop().run_in_executor(None, serve)
            try:
                return await asyncio.wait_for(start_tls(ours, context, name), 5)
            finally:
                await other

    return asyncio.run(run())


def test_start_tls_shakes_hands(certificate: Path) -> None:
    assert not shake(trusting(certificate), "proxy.example", certificate).has_ended()


def test_start_tls_certificate_of_somebody_else_is_refused(certificate: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(trusting(certificate), "other.example", certificate)


def test_start_tls_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(ssl.create_default_context(), "proxy.example", certificate)


def test_start_tls_server_that_hangs_up_is_an_error(certificate: Path) -> None:
    with pytest.raises((OpenError, ConnectionResetError)):
        shake(trusting(certificate), "proxy.example", None)
