"""What certificates say: until when they hold, and the hashes that pins are compared with.

The library behind it is loaded when it is needed first, as few need it.
"""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

DAY: Final = 86_400.0


@dataclass(frozen=True)
class Validity:
    """From when until when a certificate holds; subject is whom it names, for people."""

    subject: str
    begins: datetime
    ends: datetime

    def fault(self, now: datetime) -> str:
        """Return what is wrong with it at that time, "" for nothing."""
        if now > self.ends:
            return f"expired on {self.ends:%Y-%m-%d %H:%M} UTC"
        if now < self.begins:
            return f"holds only from {self.begins:%Y-%m-%d %H:%M} UTC on"
        return ""

    def is_late(self, now: datetime) -> bool:
        """Tell whether most of its life is over; those that live for days only are renewed every few days."""
        return (self.ends - now) * 10 < self.ends - self.begins

    def days_left(self, now: datetime) -> float:
        """Return how long it still holds."""
        return (self.ends - now).total_seconds() / DAY


def validities(pem: bytes) -> list[Validity]:
    """Return those of all certificates in PEM, in their order; raises ValueError where there is none."""
    from cryptography import x509

    try:
        with _without_opinions():
            found = x509.load_pem_x509_certificates(pem)
        return [
            Validity(each.subject.rfc4514_string(), each.not_valid_before_utc, each.not_valid_after_utc)
            for each in found
        ]
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from error


def hashes(der: bytes) -> tuple[str, str]:
    """Return SHA-256 of a certificate, and of its public key (SubjectPublicKeyInfo), in hexadecimal.

    The second is "" for a key that the library does not know.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    whole = hashlib.sha256(der).hexdigest()
    try:
        with _without_opinions():
            key = x509.load_der_x509_certificate(der).public_key()
        return whole, hashlib.sha256(
            key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).hexdigest()
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
        return whole, ""


def prepare() -> None:
    """Load now what ``hashes`` needs: a worker that has given up its rights might not be able to."""
    hashes(b"")


@contextmanager
def _without_opinions() -> Iterator[None]:
    """Keep the library from telling users what it thinks of certificates that are not theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def now_utc() -> datetime:
    """Return the time of day, which certificates are held to."""
    return datetime.now(UTC)
