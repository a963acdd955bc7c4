"""``tls = { … }``: the options that all types of upstreams share, and the client they make.

Everything that can be wrong with them is told when the configuration is read: a file that is missing, a
certificate that has expired, a key of another one, a pin that is no hash.
"""

import ssl
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from tunproxy.errors import OptionError
from tunproxy.secret import Secret
from tunproxy.upstream.certificates import now_utc, prepare, validities
from tunproxy.upstream.option_file import OptionFile
from tunproxy.upstream.tls_client import TlsClient, parse_pin

TLS: Final = "tls"  # what the table of these options is called

MAX_PROTOCOL: Final = 255  # octets of an ALPN name (RFC 7301 §3.1)

# our choices
WARNS_BEFORE: Final = 14.0  # days: time enough to have a certificate renewed
PSK_LEAST, PSK_MOST = 16, 64  # octets of a shared key

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_MAKES_KEY: Final = "openssl rand -hex 32 makes one"


@dataclass(frozen=True, kw_only=True)
class TlsOptions:
    """How TLS is spoken to the server, and what it has to prove.

    ca_file holds the certificates to trust in place of the system's. pin is the SHA-256 of the server's
    certificate or of its public key, or a list of them; without a ca_file that alone is checked. Else the
    certificate must be good for server_name, the server's own name or address unless given.
    certificate_file and key_file are ours, key_password is what the key is encrypted with; both may be in one
    file. psk, hexadecimal, is a key that the server knows under psk_identity. alpn are names of protocols.
    resume keeps sessions from one connection to the next. allow_plain goes on in the clear where the server
    speaks no TLS.
    """

    server_name: str = ""
    ca_file: OptionFile | None = None
    pin: str | tuple[str, ...] = ()
    certificate_file: OptionFile | None = None
    key_file: OptionFile | None = None
    key_password: Secret = Secret("")  # noqa: RUF009  # a Secret never changes
    min_version: Literal["1.2", "1.3"] = "1.2"
    alpn: tuple[str, ...] = ()
    psk: Secret = Secret("")  # noqa: RUF009
    psk_identity: str = ""
    resume: bool = True
    allow_plain: bool = False

    def client(self, alpn: tuple[str, ...] = ()) -> TlsClient:
        """Return the client that is meant; raises OptionError. alpn is what the type of upstream speaks."""
        pins = self._pins()
        has_psk = self.psk or self.psk_identity
        context = self._with_psk(has_more=bool(pins)) if has_psk else self._trusting(is_pinned=bool(pins))
        context.minimum_version = max(_VERSIONS[self.min_version], context.minimum_version)
        self._load_own_certificate(context)
        protocols = self.alpn or alpn
        for at, name in enumerate(protocols):
            if not name.isascii() or not 0 < len(name) <= MAX_PROTOCOL:
                raise _wrong("alpn", f"{name!r} is no name of a protocol (such as 'http/1.1')", at)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return TlsClient(
            context,
            self.server_name,
            pins=pins,
            does_resume=self.resume,
            allows_plain=self.allow_plain,
            has_certificate=self.certificate_file is not None,
            warnings=self.warnings(now_utc()),
        )

    def warnings(self, now: datetime) -> list[str]:
        """Return what is allowed, and may not be what is wanted. ``client`` has found nothing wrong."""
        found = []
        if self.allow_plain:
            found.append(
                "allow-plain: where the server seems to speak no TLS, flows go in the clear, "
                "and whoever is on the way can bring that about"
            )
        if self.certificate_file is not None:
            ours = validities(self.certificate_file.data)[0]
            left = ours.days_left(now)
            if left < WARNS_BEFORE and ours.is_late(now):
                found.append(f"certificate-file: {ours.subject} expires in {left:.1f} days")
        return found

    def _pins(self) -> list[str]:
        found = []
        for at, text in enumerate((self.pin,) if isinstance(self.pin, str) else self.pin):
            try:
                found.append(parse_pin(text))
            except ValueError as error:
                raise _wrong("pin", str(error), at) from error
        if found:
            prepare()
        return found

    def _trusting(self, *, is_pinned: bool) -> ssl.SSLContext:
        """Return a context that trusts what is in ca_file, or a pin alone, or whom the system trusts."""
        if self.ca_file is not None:
            text = _certificates("ca_file", self.ca_file)
            try:
                return ssl.create_default_context(cadata=text)
            except ssl.SSLError as error:
                raise _wrong("ca_file", f"cannot use {self.ca_file.path}: {_reason(error)}") from error
        if not is_pinned:
            return ssl.create_default_context()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # whoever has the pinned one is right, and nobody else
        return context

    def _with_psk(self, *, has_more: bool) -> ssl.SSLContext:
        """Return a context with the shared key; a server that shows a certificate instead is refused."""
        if not self.psk:
            raise _wrong("psk_identity", "there is no psk to go with it")
        if not self.psk_identity:
            raise _wrong("psk", "there is no psk-identity to go with it")
        if has_more or self.ca_file is not None:
            raise _wrong("psk", "who shares a key shows no certificate (leave out pin and ca-file)")
        try:
            key = bytes.fromhex(self.psk.reveal())
        except ValueError as error:
            raise _wrong("psk", f"the key is not hexadecimal ({_MAKES_KEY})") from error
        if not PSK_LEAST <= len(key) <= PSK_MOST:
            why = f"the key has {len(key)} octets, not {PSK_LEAST} to {PSK_MOST} ({_MAKES_KEY})"
            raise _wrong("psk", why)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which checks certificates, and trusts nobody
        set_callback = getattr(context, "set_psk_client_callback", None)
        if set_callback is None:
            here = ".".join(map(str, sys.version_info[:2]))
            why = f"needs Python 3.13, and this is {here} (a client certificate and a pin do as much)"
            raise _wrong("psk", why)
        context.set_ciphers("PSK:!kRSAPSK:!aNULL:!eNULL")  # those with which the server proves to have it
        identity = self.psk_identity
        set_callback(lambda hint: (identity, key))
        return context

    def _load_own_certificate(self, context: ssl.SSLContext) -> None:
        certificate, key = self.certificate_file, self.key_file or self.certificate_file
        if certificate is None or key is None:
            if key is not None:
                raise _wrong("key_file", "there is no certificate-file to go with it")
            return
        _certificates("certificate_file", certificate, is_ours=True)
        option = "key_file" if self.key_file is not None else "certificate_file"
        password = self.key_password.reveal()

        def tell_password() -> str:
            if not password:  # else OpenSSL would ask at the terminal
                raise _wrong(option, f"{key.path} is encrypted (key-password says with what)")
            return password

        try:
            with certificate.opened() as certificate_path, key.opened() as key_path:
                context.load_cert_chain(certificate_path, key_path, tell_password)
        except ssl.SSLError as error:
            raise _wrong(option, self._why_no_key(error, key, certificate)) from error
        except (ValueError, OSError) as error:
            raise _wrong(option, f"cannot use {key.path}: {error}") from error

    def _why_no_key(self, error: ssl.SSLError, key: OptionFile, certificate: OptionFile) -> str:
        reason = _reason(error)
        if reason == "key values mismatch":
            return f"the key in {key.path} does not belong to the certificate in {certificate.path}"
        if b"PRIVATE KEY" not in key.data:
            return f"there is no private key in {key.path} (a PEM file with BEGIN PRIVATE KEY)"
        if self.key_password and b"ENCRYPTED" in key.data:
            return f"cannot decrypt the key in {key.path} (is key-password right?)"
        return f"cannot use the key in {key.path}: {reason}"


def tls_client(tls: TlsOptions | bool, alpn: tuple[str, ...] = ()) -> TlsClient | None:
    """Return the client of an option that may be a table, or true for one with nothing in it, or false.

    Raises OptionError. alpn is what the type of upstream speaks.
    """
    if tls is False:
        return None
    return (TlsOptions() if tls is True else tls).client(alpn)


def _certificates(option: str, file: OptionFile, *, is_ours: bool = False) -> str:
    """Return those in a file as text; one of them must hold, or the first where they are ours."""
    try:
        found = validities(file.data)
    except ValueError as error:
        why = f"there is no certificate in {file.path} (a PEM file with BEGIN CERTIFICATE)"
        if b"BEGIN CERTIFICATE" in file.data:
            why = f"cannot read the certificates in {file.path}: {error}"
        raise _wrong(option, why) from error
    now = now_utc()
    faults = [each.fault(now) for each in found]
    if faults[0] if is_ours else all(faults):
        raise _wrong(option, f"{file.path}: {found[0].subject} {faults[0]} (get a new one)")
    return file.data.decode("ascii", "replace")


def _wrong(option: str, why: str, *entry: int) -> OptionError:
    return OptionError(f"{option.replace('_', '-')}: {why}", TLS, option, *entry)


def _reason(error: ssl.SSLError) -> str:
    return (getattr(error, "reason", "") or str(error)).replace("_", " ").lower()
