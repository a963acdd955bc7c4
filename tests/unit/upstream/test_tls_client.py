"""Pins, and sessions that are taken up again."""

import hashlib
import ssl

import pytest

from tests.unit.upstream.certificates import Made, make
from tunproxy.upstream.option_file import OptionFile
from tunproxy.upstream.tls import TlsCodec
from tunproxy.upstream.tls_client import PinError, TlsClient, client_of, parse_pin, written

HASH = hashlib.sha256(b"x").hexdigest()
COLONS = ":".join(HASH[at : at + 2].upper() for at in range(0, 64, 2))


class Server:
    """A server with a certificate, to which any number of connections are made."""

    def __init__(self, made: Made | None, *, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.maximum_version = most
        if made is None:  # it shares a key with its clients
            return
        with OptionFile("both", made.key_pem() + made.pem).opened() as path:
            self.context.load_cert_chain(path)

    def meet(self, client: TlsClient, name: str = "proxy.test") -> TlsCodec:
        """Shake hands, and say a word to each other; return the client's end."""
        arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = self.context.wrap_bio(arrived, leaving, server_side=True)
        codec = TlsCodec(client, name)
        words, is_over = codec.advance_handshake(b"")
        while not is_over:
            arrived.write(words)
            try:
                session.do_handshake()
            except ssl.SSLWantReadError:
                pass
            words, is_over = codec.advance_handshake(leaving.read())
        arrived.write(words + codec.encode(b"ping"))
        session.do_handshake()
        assert session.read() == b"ping"
        session.write(b"pong")
        assert codec.decode(leaving.read()) == b"pong"
        return codec


@pytest.fixture(scope="module")
def made() -> Made:
    return make("proxy.test")


def trusting(made: Made) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=made.pem.decode())


def untrusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.mark.parametrize(
    "text",
    [HASH, HASH.upper(), COLONS, f"sha256 Fingerprint={COLONS}", f"sha256:{HASH}", written(HASH),
     written(HASH).removeprefix("sha256//"), f" {HASH}\n"],
)  # fmt: skip
def test_pin_is_read_in_each_form(text: str) -> None:
    assert parse_pin(text) == HASH


@pytest.mark.parametrize(
    "text", ["", "abc", HASH[:-1], HASH + "0", "g" * 64, "sha1:" + HASH[:40], "sha256//" + "A" * 42, "A" * 44]
)
def test_pin_that_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no SHA-256 \(64 hexadecimal digits"):
        parse_pin(text)


def test_pin_of_certificate_or_key_lets_in_whoever_has_it(made: Made) -> None:
    for octets in (made.der, made.public_key):
        pin = hashlib.sha256(octets).hexdigest()
        Server(made).meet(TlsClient(untrusting(), pins=[HASH, pin]))


def test_wrong_pin_is_refused_before_anything_is_said(made: Made) -> None:
    client = TlsClient(untrusting(), pins=[HASH])
    with pytest.raises(PinError) as raised:
        Server(made).meet(client)
    assert f"it is sha256:{hashlib.sha256(made.der).hexdigest()}, with the key sha256//" in str(raised.value)
    assert written(hashlib.sha256(made.public_key).hexdigest()) in str(raised.value)
    assert client.session_for("proxy.test") is None


def test_pin_without_a_certificate_is_refused() -> None:
    with pytest.raises(PinError, match="has shown no certificate"):
        TlsClient(untrusting(), pins=[HASH]).check(None)


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("is_pinned", [False, True])
def test_session_is_taken_up_again(made: Made, most: ssl.TLSVersion, is_pinned: bool) -> None:
    server = Server(made, most=most)
    pins = [hashlib.sha256(made.der).hexdigest()] if is_pinned else []
    client = TlsClient(untrusting() if is_pinned else trusting(made), pins=pins)
    for _ in range(4):
        server.meet(client)
    assert client.resumed == 3
    kept = client.session_for("proxy.test")
    assert kept is not None
    server.meet(client)
    assert client.session_for("proxy.test") is kept  # to take the new one as well costs more than it saves
    client.forget("proxy.test")
    server.meet(client)
    assert client.resumed == 4


def test_session_is_not_for_another_name(made: Made) -> None:
    both = make("proxy.test", "other.test")
    server, client = Server(both), TlsClient(trusting(both))
    server.meet(client)
    server.meet(client, "other.test")
    assert client.resumed == 0


def test_session_that_the_server_has_forgotten_costs_a_handshake_only(made: Made) -> None:
    client = TlsClient(trusting(made))
    Server(made).meet(client)
    Server(made).meet(client)
    assert client.resumed == 0


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_wants_no_resumption_gets_none(made: Made, most: ssl.TLSVersion) -> None:
    server, client = Server(made, most=most), TlsClient(trusting(made), does_resume=False)
    for _ in range(2):
        server.meet(client)
    assert client.resumed == 0
    assert client.session_for("proxy.test") is None


def test_bare_context_is_a_client() -> None:
    context = untrusting()
    assert client_of(context).context is context
    client = TlsClient(context)
    assert client_of(client) is client
