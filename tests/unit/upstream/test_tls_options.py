"""``tls = { … }``: what it makes, and what is wrong with it."""

import dataclasses
import re
import ssl
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.upstream.certificates import make
from tests.unit.upstream.test_tls_client import HASH, Server
from tunproxy.errors import OptionError
from tunproxy.secret import Secret
from tunproxy.upstream.certificates import hashes, now_utc
from tunproxy.upstream.option_file import OptionFile
from tunproxy.upstream.tls_client import PinError
from tunproxy.upstream.tls_options import TlsOptions, tls_client

ROOT = Path(__file__).resolve().parents[3]
AUTHORITY = make("authority.test", is_authority=True)
SERVER = make("proxy.test", signed_by=AUTHORITY)
OURS = make("ours.test", signed_by=AUTHORITY)
CA = OptionFile("ca.pem", AUTHORITY.pem)
CERTIFICATE, KEY = OptionFile("ours.pem", OURS.pem), OptionFile("key.pem", OURS.key_pem())
PSK = Secret("ab" * 32)
HAS_PSK = hasattr(ssl.SSLContext, "set_psk_client_callback")


def test_system_is_trusted_unless_told_otherwise() -> None:
    context = TlsOptions().client().context
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLCertVerificationError):
        Server(SERVER).meet(TlsOptions().client())


def test_ca_file_is_trusted_in_its_place() -> None:
    Server(SERVER).meet(TlsOptions(ca_file=CA).client())
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        Server(SERVER).meet(TlsOptions(ca_file=CA).client(), "other.test")
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        Server(make("proxy.test")).meet(TlsOptions(ca_file=CA).client())


def test_pin_alone_needs_no_authority_and_no_name() -> None:
    stranger = make("stranger.test", days=-1)
    for pin in hashes(stranger.der):
        Server(stranger).meet(TlsOptions(pin=pin).client())
        Server(stranger).meet(TlsOptions(pin=(HASH, pin)).client())
    with pytest.raises(PinError):
        Server(stranger).meet(TlsOptions(pin=HASH).client())


def test_pin_beside_a_ca_file_needs_both() -> None:
    pin = hashes(SERVER.der)[1]
    Server(SERVER).meet(TlsOptions(pin=pin, ca_file=CA).client())
    with pytest.raises(PinError):
        Server(SERVER).meet(TlsOptions(pin=HASH, ca_file=CA).client())
    stranger = make("proxy.test")
    with pytest.raises(ssl.SSLCertVerificationError):
        Server(stranger).meet(TlsOptions(pin=hashes(stranger.der)[0], ca_file=CA).client())


@pytest.mark.parametrize("has_one_file", [False, True])
@pytest.mark.parametrize("password", ["", "sesame"])
def test_client_certificate_is_shown_to_who_asks(has_one_file: bool, password: str) -> None:
    server = Server(SERVER)
    server.context.verify_mode = ssl.CERT_REQUIRED
    server.context.load_verify_locations(cadata=AUTHORITY.pem.decode())
    key = OptionFile("key.pem", OURS.key_pem(password))
    both = OptionFile("both.pem", OURS.pem + key.data)
    options = TlsOptions(
        ca_file=CA,
        certificate_file=both if has_one_file else CERTIFICATE,
        key_file=None if has_one_file else key,
        key_password=Secret(password),
    )
    server.meet(options.client())
    with pytest.raises(ssl.SSLError):
        server.meet(TlsOptions(ca_file=CA).client())


def test_version_and_protocols_are_as_asked() -> None:
    old = Server(SERVER, most=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ssl.SSLError):
        old.meet(TlsOptions(ca_file=CA, min_version="1.3").client())
    server = Server(SERVER)
    server.context.set_alpn_protocols(["http/1.1", "x"])
    codec = server.meet(TlsOptions(ca_file=CA).client(("http/1.1",)))
    assert codec._session.selected_alpn_protocol() == "http/1.1"
    codec = server.meet(TlsOptions(ca_file=CA, alpn=("x",)).client(("http/1.1",)))
    assert codec._session.selected_alpn_protocol() == "x"


EXPIRED = make("old.test", days=-1)
WRONG = [
    (TlsOptions(ca_file=OptionFile("ca.pem", b"")), "ca_file", "there is no certificate in ca.pem"),
    (
        TlsOptions(ca_file=OptionFile("ca.pem", AUTHORITY.pem[:200])),
        "ca_file",
        "no certificate in|cannot read",
    ),
    (TlsOptions(ca_file=OptionFile("ca.pem", EXPIRED.pem)), "ca_file", "ca.pem: CN=old.test expired on"),
    (TlsOptions(pin="abc"), "pin", "'abc' is no SHA-256"),
    (TlsOptions(pin=(HASH, "")), "pin", "'' is no SHA-256"),
    (TlsOptions(key_file=KEY), "key_file", "no certificate-file to go with it"),
    (TlsOptions(certificate_file=CERTIFICATE), "certificate_file", "there is no private key in ours.pem"),
    (TlsOptions(certificate_file=KEY), "certificate_file", "there is no certificate in key.pem"),
    (
        TlsOptions(certificate_file=OptionFile("old.pem", EXPIRED.pem + EXPIRED.key_pem())),
        "certificate_file",
        r"old.pem: CN=old.test expired on .* \(get a new one\)",
    ),
    (
        TlsOptions(certificate_file=CERTIFICATE, key_file=OptionFile("other.pem", SERVER.key_pem())),
        "key_file",
        "the key in other.pem does not belong to the certificate in ours.pem",
    ),
    (
        TlsOptions(certificate_file=CERTIFICATE, key_file=OptionFile("key.pem", OURS.key_pem("sesame"))),
        "key_file",
        "key.pem is encrypted .key-password says with what.",
    ),
    (
        TlsOptions(
            certificate_file=CERTIFICATE,
            key_file=OptionFile("key.pem", OURS.key_pem("sesame")),
            key_password=Secret("mackerel"),
        ),
        "key_file",
        "cannot decrypt the key in key.pem",
    ),
    (
        TlsOptions(certificate_file=CERTIFICATE, key_file=CERTIFICATE),
        "key_file",
        "no private key in ours.pem",
    ),
    (TlsOptions(alpn=("",)), "alpn", "'' is no name of a protocol"),
    (TlsOptions(alpn=("münchen",)), "alpn", "'münchen' is no name of a protocol"),
    (TlsOptions(psk=PSK), "psk", "no psk-identity to go with it"),
    (TlsOptions(psk_identity="me"), "psk_identity", "no psk to go with it"),
    (TlsOptions(psk=Secret("xyz"), psk_identity="me"), "psk", "the key is not hexadecimal"),
    (TlsOptions(psk=Secret("abcd"), psk_identity="me"), "psk", "the key has 2 octets, not 16 to 64"),
    (TlsOptions(psk=PSK, psk_identity="me", ca_file=CA), "psk", "leave out pin and ca-file"),
    (TlsOptions(psk=PSK, psk_identity="me", pin=HASH), "psk", "leave out pin and ca-file"),
]


@pytest.mark.parametrize(("options", "option", "why"), WRONG)
def test_what_cannot_be_is_told_with_its_option(options: TlsOptions, option: str, why: str) -> None:
    with pytest.raises(OptionError, match=f"^{option.replace('_', '-')}: .*(?:{why})") as raised:
        options.client()
    assert raised.value.path[:2] == ("tls", option)
    assert "sesame" not in str(raised.value)


@pytest.mark.skipif(HAS_PSK, reason="this Python has shared keys")
def test_shared_key_names_the_python_that_has_it() -> None:
    here = ".".join(map(str, sys.version_info[:2]))
    with pytest.raises(OptionError, match=rf"psk: needs Python 3\.13, and this is {here}"):
        TlsOptions(psk=PSK, psk_identity="me").client()


@pytest.mark.skipif(not HAS_PSK, reason="needs Python 3.13")
@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_shared_key_proves_both_ends(most: ssl.TLSVersion) -> None:
    options = TlsOptions(psk=PSK, psk_identity="me")

    def server(key: str) -> Server:
        made = Server(None, most=most)
        made.context.set_ciphers("PSK")
        made.context.set_psk_server_callback(  # type: ignore[attr-defined]
            lambda identity: bytes.fromhex(key) if identity == "me" else b""
        )
        return made

    server(PSK.reveal()).meet(options.client())
    with pytest.raises(ssl.SSLError):
        server("cd" * 32).meet(options.client())
    with pytest.raises(ssl.SSLError):  # who has a certificate, but not the key
        Server(SERVER, most=most).meet(options.client())


def test_what_is_allowed_and_hardly_meant_is_told() -> None:
    now = now_utc()
    ours = make("a.test", begins=-1, days=19)
    options = TlsOptions(certificate_file=OptionFile("ours.pem", ours.pem))
    assert options.warnings(now) == []
    assert options.warnings(now + timedelta(days=16.9)) == []
    assert options.warnings(now + timedelta(days=18)) == ["certificate-file: CN=a.test expires in 1.0 days"]
    assert TlsOptions(ca_file=OptionFile("ca.pem", ours.pem)).warnings(now + timedelta(days=18)) == []
    (warning,) = TlsOptions(allow_plain=True).warnings(now)
    assert "go in the clear" in warning
    assert TlsOptions(allow_plain=True).client().warnings == (warning,)


def test_page_for_users_has_every_option() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text().partition("### TLS\n")[2].partition("\n## ")[0]
    named = {found for line in re.findall("^- (.*?):", text, re.M) for found in re.findall("`([^`]+)`", line)}
    named |= set(re.findall("^  `([a-z-]+)` is", text, re.M))
    assert named == {field.name.replace("_", "-") for field in dataclasses.fields(TlsOptions)}


def test_option_is_a_table_or_true_or_false() -> None:
    assert tls_client(False) is None
    client = tls_client(True, ("http/1.1",))
    assert client is not None
    assert client.context.verify_mode == ssl.CERT_REQUIRED
    client = tls_client(TlsOptions(server_name="x.test", resume=False, allow_plain=True))
    assert client is not None
    assert (client.server_name, client.does_resume, client.allows_plain) == ("x.test", False, True)
