"""XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): ChaCha20-Poly1305 with a nonce of 24 octets.

``cryptography`` has no XChaCha20. Its ChaCha20 gives what is missing: HChaCha20 (§2.2) is one block of key
stream without the addition of the initial state, some of whose words are known and can be taken off again.
"""

import struct
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

XCHACHA_NONCE_LEN: Final = 24

_WORDS: Final = struct.Struct("<4I")
_BLOCK: Final = struct.Struct("<16I")
_RESULT: Final = struct.Struct("<8I")
_CONSTANTS: Final = _WORDS.unpack(b"expand 32-byte k")  # RFC 8439 §2.3


class XChaCha20Poly1305:
    """The cipher with a key of 32 octets; otherwise as the classes of ``cryptography``."""

    def __init__(self, key: bytes) -> None:
        self._key: Final = key

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return data sealed, with its tag behind it. nonce has 24 octets, and is used once."""
        return self._inner(nonce).encrypt(bytes(4) + nonce[16:], data, associated_data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return data in the clear. Raises InvalidTag."""
        return self._inner(nonce).decrypt(bytes(4) + nonce[16:], data, associated_data)

    def _inner(self, nonce: bytes) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(hchacha20(self._key, nonce[:16]))


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """Return the key that key and the first 16 octets of a long nonce lead to (§2.2)."""
    block = _BLOCK.unpack(Cipher(ChaCha20(key, nonce), None).encryptor().update(bytes(64)))
    ends = zip(block[:4] + block[12:], _CONSTANTS + _WORDS.unpack(nonce), strict=True)
    return _RESULT.pack(*((word - known) & 0xFFFF_FFFF for word, known in ends))
