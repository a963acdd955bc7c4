"""Passwords as scrypt hashes (RFC 7914): ``scrypt$N$r$p$salt$hash``, the last two in base64."""

import base64
import binascii
import hashlib
import hmac
import os
from typing import Final, final

from tunproxy.errors import ConfigError

# our choices: 16 MB and some 50 ms for each guess
COST: Final = 1 << 14
BLOCK: Final = 8
PARALLEL: Final = 1
SALT_LEN: Final = 16
HASH_LEN: Final = 32
MAX_MEMORY: Final = 256 << 20


@final
class PasswordHash:
    """One hash as it is written in a configuration. Raises ConfigError, which does not show it."""

    def __init__(self, text: str) -> None:
        parts = text.split("$")
        try:
            if len(parts) != 6 or parts[0] != "scrypt":
                raise ValueError
            self._cost, self._block, self._parallel = (int(part) for part in parts[1:4])
            self._salt = base64.b64decode(parts[4], validate=True)
            self._hash = base64.b64decode(parts[5], validate=True)
            if not self._salt or not 16 <= len(self._hash) <= 64:
                raise ValueError
            self.matches("")
        except (ValueError, binascii.Error, OverflowError, MemoryError):
            raise ConfigError(
                "this is no password hash (make one with: tunproxy relay --hash-password)"
            ) from None

    def matches(self, password: str) -> bool:
        """Return whether this is the password. Takes long on purpose, and as long either way."""
        return hmac.compare_digest(
            self._hash,
            hashlib.scrypt(
                password.encode(), salt=self._salt, n=self._cost, r=self._block, p=self._parallel,
                maxmem=MAX_MEMORY, dklen=len(self._hash),
            ),
        )  # fmt: skip


def make_hash(password: str) -> str:
    """Return the line for a configuration, with a salt of its own."""
    salt = os.urandom(SALT_LEN)
    made = hashlib.scrypt(
        password.encode(), salt=salt, n=COST, r=BLOCK, p=PARALLEL, maxmem=MAX_MEMORY, dklen=HASH_LEN
    )
    encoded = (base64.b64encode(part).decode() for part in (salt, made))
    return f"scrypt${COST}${BLOCK}${PARALLEL}${'$'.join(encoded)}"
