"""Hashes of passwords: RFC 7914's own, ours, and what is none."""

import base64

import pytest

from tunproxy.errors import ConfigError
from tunproxy.relay.passwords import PasswordHash, make_hash

HASH = "A" * 24


def test_hash_of_the_rfc() -> None:
    """RFC 7914 §12: "password", "NaCl", N 1024, r 8, p 16."""
    digest = bytes.fromhex(
        "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
        "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
    )
    salt = base64.b64encode(b"NaCl").decode()
    kept = PasswordHash(f"scrypt$1024$8$16${salt}${base64.b64encode(digest).decode()}")
    assert kept.matches("password")
    assert not kept.matches("Password")


def test_hash_that_is_made_can_be_used_and_never_repeats() -> None:
    one, other = make_hash("fish"), make_hash("fish")
    assert one != other
    assert PasswordHash(one).matches("fish")
    assert not PasswordHash(other).matches("")


@pytest.mark.parametrize(
    "text",
    [
        "", "fish", "scrypt$1$8$1$AAAA$AAAA", "scrypt$16384$8$1$AAAA$", "scrypt$x$8$1$AAAA$AAAA",
        "scrypt$3$8$1$AAAA$" + HASH, "scrypt$1073741824$8$1$AAAA$" + HASH, "bcrypt$16384$8$1$AAAA$" + HASH,
        "scrypt$16384$8$1$%%$" + HASH,
    ],
)  # fmt: skip
def test_what_is_no_hash_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PasswordHash(text)
    assert "no password hash" in str(caught.value)
    assert not text or text not in str(caught.value)
