"""Who may use the relay. How long a check takes does not tell whether a user exists, or what was right."""

import asyncio
import hashlib
import hmac
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tunproxy.relay.passwords import PasswordHash
from tunproxy.secret import Secret

ANONYMOUS: Final = "-"  # the user of whoever comes where there are none

# our choices
HASHERS: Final = 1  # threads that compare hashes: guesses cannot take more of the processor
MAX_KNOWN: Final = 1024  # logins that were right, which are not hashed again


class Users:
    """Names with passwords, or hashes of them. Without any, everybody is ANONYMOUS."""

    def __init__(self, passwords: Mapping[str, Secret | PasswordHash]) -> None:
        self._key: Final = os.urandom(32)
        self._plain: Final = {
            name: self._digest(name, password.reveal())
            for name, password in passwords.items()
            if isinstance(password, Secret)
        }
        self._hashed: Final = {
            name: password for name, password in passwords.items() if isinstance(password, PasswordHash)
        }
        self._nobody: Final = os.urandom(32)
        self._known: Final[dict[str, bytes]] = {}
        self._threads: Final = ThreadPoolExecutor(HASHERS, "login")
        self.is_empty: Final = not passwords

    def close(self) -> None:
        """Wait for nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def check(self, name: str, password: str) -> bool:
        """Return whether this user has this password."""
        given = self._digest(name, password)
        if hmac.compare_digest(self._plain.get(name, self._nobody), given):
            return True
        if not self._hashed or name in self._plain:
            return False
        if hmac.compare_digest(self._known.get(name, self._nobody), given):
            return True
        kept = self._hashed.get(name)
        asked = kept or next(iter(self._hashed.values()))  # a stranger costs as much as anybody
        loop = asyncio.get_running_loop()
        is_right = await loop.run_in_executor(self._threads, asked.matches, password)
        if not is_right or kept is None:
            return False
        if len(self._known) < MAX_KNOWN:
            self._known[name] = given
        return True

    def _digest(self, name: str, password: str) -> bytes:
        """Return what is compared: as long for all, and of no use outside this process."""
        size = len(name.encode()).to_bytes(4, "big")
        return hmac.digest(self._key, size + name.encode() + password.encode(), hashlib.sha256)
