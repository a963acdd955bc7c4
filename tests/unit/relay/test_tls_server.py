"""TLS as the server, against the client's side of Python's own library."""

import re
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.unit.upstream.certificates import make
from tunproxy.errors import OptionError
from tunproxy.relay.tls_server import ServerTls, make_context, warnings
from tunproxy.upstream.certificates import now_utc


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = str(folder / "certificate.pem"), str(folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=lab", "-addext", "subjectAltName=DNS:relay.test", "-keyout", key,
         "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


class Peer:
    """A client that has shaken hands with a codec."""

    def __init__(self, files: tuple[str, str]) -> None:
        self.codec = ServerTls(make_context(*files))
        context = ssl.create_default_context(cafile=files[0])
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self._in, self._out, server_hostname="relay.test")
        is_over = False
        while not is_over:
            try:
                self.session.do_handshake()
            except ssl.SSLWantReadError:
                pass
            words, is_over = self.codec.advance_handshake(self._out.read())
            self._in.write(words)
        self.session.do_handshake()

    def says(self, data: bytes) -> bytes:
        self.session.write(data)
        return self._out.read()

    def hears(self, data: bytes) -> bytes:
        self._in.write(data)
        return self.session.read(1 << 20)

    def ends(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self.session.unwrap()
        return self._out.read()


pytestmark = pytest.mark.needs("openssl")


def test_stream_passes_both_ways_cut_anywhere(files: tuple[str, str]) -> None:
    peer = Peer(files)
    said = peer.says(b"hello" * 2000)
    heard = b"".join(peer.codec.decode(said[at : at + 100]) for at in range(0, len(said), 100))
    assert heard == b"hello" * 2000
    assert peer.hears(peer.codec.encode(b"welcome")) == b"welcome"


def test_end_of_the_client_is_told_and_we_may_still_speak(files: tuple[str, str]) -> None:
    peer = Peer(files)
    said = peer.says(b"bye") + peer.ends()
    assert peer.codec.decode(said) == b"bye"
    assert peer.codec.has_ended()
    assert peer.codec.decode_end() == b""
    assert peer.hears(peer.codec.encode(b"last words")) == b"last words"


def test_stream_that_is_cut_off_raises(files: tuple[str, str]) -> None:
    peer = Peer(files)
    peer.codec.decode(peer.says(b"hello")[:-1])
    with pytest.raises(ConnectionResetError, match="cut off"):
        peer.codec.decode_end()


def test_octet_that_was_changed_raises(files: tuple[str, str]) -> None:
    peer = Peer(files)
    said = bytearray(peer.says(b"hello"))
    said[-1] ^= 1
    with pytest.raises(ssl.SSLError):
        peer.codec.decode(bytes(said))


def test_garbage_is_answered_with_an_alert(files: tuple[str, str]) -> None:
    codec = ServerTls(make_context(*files))
    with pytest.raises(ssl.SSLError):
        codec.advance_handshake(b"\x16\x03\x01\x00\x05hello")
    assert codec.last_words()[:1] == b"\x15"


def test_files_that_cannot_be_used_are_named(files: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"the certificate in '/nowhere.pem': no such file") as gone:
        make_context("/nowhere.pem", "")
    assert gone.value.path == ("certificate",)
    with pytest.raises(OptionError, match=r"the key in '/nowhere.pem': no such file") as gone:
        make_context(files[0], "/nowhere.pem")
    assert gone.value.path == ("key",)
    other = tmp_path / "other.pem"
    command = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(other)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(OptionError, match="key values mismatch") as wrong:
        make_context(files[0], str(other))
    assert wrong.value.path == ("key",)
    with pytest.raises(OptionError, match=r"cannot use the certificates in '/nowhere\.pem'") as gone:
        make_context(*files, "/nowhere.pem")
    assert gone.value.path == ("client_ca",)


def test_key_that_is_encrypted_is_told_and_asks_nobody(files: tuple[str, str], tmp_path: Path) -> None:
    locked = tmp_path / "locked.pem"
    command = ["openssl", "pkey", "-in", files[1], "-aes256", "-passout", "pass:x", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(OptionError, match=r"it is encrypted \(openssl pkey -in .* decrypts it\)") as wrong:
        make_context(files[0], str(locked))
    assert wrong.value.path == ("key",)


def test_client_certificate_is_wanted_where_it_is_said(files: tuple[str, str]) -> None:
    assert make_context(*files, files[0]).verify_mode == ssl.CERT_REQUIRED
    assert make_context(*files).verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("days", "begins", "words"),
    [
        (90, -1, None),
        (3, -1, None),  # of those that live for days most of it is left
        (3, -87, "CN=relay.test expires in 3.0 days"),
        (-1, -9, "CN=relay.test expired on .* UTC (clients refuse it: get a new one)"),
        (9, 3, "CN=relay.test holds only from .* UTC on (clients refuse it: get a new one)"),
    ],
)
def test_certificate_that_clients_will_not_believe_is_warned_of(
    tmp_path: Path, days: float, begins: float, words: str | None
) -> None:
    path = tmp_path / "relay.pem"
    path.write_bytes(make("relay.test", days=days, begins=begins).pem)
    found = warnings(str(path), now_utc())
    assert len(found) == (words is not None)
    for line in found:
        told = re.escape(f"certificate {path}: {words}").replace(re.escape(".*"), ".*")
        assert re.fullmatch(told, line), line


def test_what_cannot_be_read_is_not_warned_of(tmp_path: Path) -> None:
    assert warnings(str(tmp_path / "nowhere"), now_utc()) == []
