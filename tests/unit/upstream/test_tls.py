"""TLS as a codec, against OpenSSL's own server side."""

import asyncio
import socket
import ssl
import subprocess
from pathlib import Path
from random import Random

import pytest

from tunproxy.flow.codec import MOST_DECODED
from tunproxy.upstream.base import OpenError
from tunproxy.upstream.tls import TlsCodec, start_tls
from tunproxy.upstream.tls_client import TlsClient

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

    def __init__(self, certificate: Path, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = most
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
    return shaken(certificate)


def shaken(certificate: Path) -> tuple[TlsCodec, Server]:
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


def test_codec_that_ends_loses_nothing_that_has_arrived(ends: tuple[TlsCodec, Server]) -> None:
    """Neither half a record nor more than was wanted at once."""
    codec, server = ends
    data = bytes(range(256)) * 64 * 20  # twenty records
    sent = b"".join(server.write(data[at : at + 16384]) for at in range(0, len(data), 16384))
    heard = codec.decode(sent[:-5000])
    assert len(heard) <= MOST_DECODED
    assert codec.has_more()
    assert server.read(codec.end()) == b""
    while codec.has_more():
        heard += codec.decode(b"")
    heard += codec.decode(sent[-5000:])
    assert heard == data
    assert codec.decode(server.end()) == b""
    assert codec.has_ended()


def test_codec_returns_no_more_at_once_than_it_may(ends: tuple[TlsCodec, Server]) -> None:
    codec, server = ends
    data = bytes(range(256)) * 5000
    heard = [codec.decode(server.write(data))]
    while codec.has_more():
        heard.append(codec.decode(b""))
    assert b"".join(heard) == data
    assert len(heard) == 5
    assert max(map(len, heard)) <= MOST_DECODED
    assert codec.decode(b"") == b""


def test_codec_has_what_came_with_the_end_of_the_handshake(certificate: Path) -> None:
    """In TLS 1.2 it is the server who says the last word of it, and may go on at once."""
    server = Server(certificate, ssl.TLSVersion.TLSv1_2)
    codec = TlsCodec(trusting(certificate), "proxy.example")
    words, _ = codec.advance_handshake(b"")
    words, _ = codec.advance_handshake(server.shake(words))
    _, is_over = codec.advance_handshake(server.shake(words) + server.write(b"220 speak"))
    assert is_over
    assert codec.has_more()
    assert codec.decode(b"") == b"220 speak"
    assert not codec.has_more()


def test_codec_reset_before_anything_was_heard_may_be_for_want_of_a_certificate(
    certificate: Path, ends: tuple[TlsCodec, Server]
) -> None:
    codec, server = ends
    with pytest.raises(OpenError, match=r"does it want a certificate of ours"):
        codec.on_reset()
    codec.decode(server.write(b"hello"))
    codec.on_reset()
    client = TlsClient(trusting(certificate), has_certificate=True)
    TlsCodec(client, "proxy.example").on_reset()


def test_codec_whatever_arrives_no_wrong_octet_comes_out(certificate: Path) -> None:
    """Flipped, left out, twice, or made up: what is returned before the error is how the stream began."""
    random = Random(8446)
    data = random.randbytes(40_000)
    for _ in range(60):
        codec, server = shaken(certificate)
        sent = bytearray(b"".join(server.write(data[at : at + 5000]) for at in range(0, len(data), 5000)))
        at, size = random.randrange(len(sent)), random.randrange(1, 6000)
        change = random.randrange(4)
        if change == 0:
            sent[at] ^= 1 << random.randrange(8)
        elif change == 1:
            del sent[at : at + size]
        elif change == 2:
            sent[at:at] = sent[at : at + size]
        else:
            sent[at:at] = random.randbytes(size)
        heard = b""
        with pytest.raises((ssl.SSLError, ConnectionResetError)):  # noqa: PT012
            for start in range(0, len(sent), 7000):
                heard += codec.decode(bytes(sent[start : start + 7000]))
            codec.decode_end()
        assert data.startswith(heard)
