"""What certificates say."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from tests.unit.upstream.certificates import make
from tunproxy.upstream.certificates import Validity, hashes, now_utc, prepare, validities

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_validities_of_a_chain_are_in_its_order() -> None:
    root = make("root.test", is_authority=True)
    leaf = make("leaf.test", signed_by=root, days=-1)
    found = validities(leaf.pem + root.pem)
    assert [each.subject for each in found] == ["CN=leaf.test", "CN=root.test"]
    assert found[0].fault(now_utc()).startswith("expired on 20")
    assert found[1].fault(now_utc()) == ""
    assert 1.9 < found[1].days_left(now_utc()) < 2.1


@pytest.mark.parametrize(
    "pem",
    [b"", b"nothing", make("a.test").key_pem(), make("a.test").pem[:100]],
    ids=["nothing", "a word", "a key", "a part"],
)
def test_validities_of_something_else_are_an_error(pem: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        validities(pem)


@pytest.mark.parametrize(
    ("begins", "ends", "fault"),
    [
        (-1, 1, ""),
        (-2, -1, "expired on 2026-11-20 12:00 UTC"),
        (1, 2, "holds only from 2026-11-22 12:00 UTC on"),
    ],
)
def test_fault_tells_when(begins: int, ends: int, fault: str) -> None:
    one = Validity("CN=x", NOW + timedelta(days=begins), NOW + timedelta(days=ends))
    assert one.fault(NOW) == fault


def test_hashes_are_of_the_certificate_and_of_its_key() -> None:
    made = make("a.test")
    expected = (hashlib.sha256(made.der).hexdigest(), hashlib.sha256(made.public_key).hexdigest())
    assert hashes(made.der) == expected
    prepare()


@pytest.mark.filterwarnings("error")
def test_whatever_a_certificate_looks_like_is_no_fault() -> None:
    """Servers show what they like."""
    made = make("a.test", "192.0.2.1")
    random = Random(5280)
    for _ in range(3000):
        der = bytearray(made.der)
        for _ in range(random.choice((1, 1, 2, 5))):
            der[random.randrange(len(der))] = random.choice(
                (0, 1, 0x30, 0x7F, 0x80, 0xFF, random.randrange(256))
            )
        if random.random() < 0.1:
            del der[random.randrange(len(der)) :]
        whole, key = hashes(bytes(der))
        assert whole == hashlib.sha256(der).hexdigest()
        assert len(key) in (0, 64)
        body = base64.encodebytes(der)
        try:
            validities(b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n")
        except ValueError:
            pass


def test_hashes_of_what_is_no_certificate_have_no_key() -> None:
    assert hashes(b"\x30\x00") == (hashlib.sha256(b"\x30\x00").hexdigest(), "")
