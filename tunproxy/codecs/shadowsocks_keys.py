"""Shadowsocks: methods, and the keys that passwords lead to.

    edition 2017    password ─ EVP_BytesToKey ─▶ key;  key, salt ─ HKDF-SHA1 ─▶ subkey       (SIP004, SIP007)
    edition 2022    base64 ───────────────────▶ key;  key ‖ salt ─ BLAKE3 ─▶ subkey          (SIP022)

All cryptography is done by ``cryptography``, ``blake3`` and ``hashlib``.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tunproxy.errors import OptionError
from tunproxy.flow.codec import CodecError

TAG_LEN: Final = 16  # octets behind everything that is sealed, whatever the method
IDENTITY_LEN: Final = 16  # of an identity header (SIP022, "Extensible Identity Headers")

_SUBKEY_2017: Final = b"ss-subkey"  # SIP007
_SUBKEY_2022: Final = "shadowsocks 2022 session subkey"  # SIP022 §2.2
_IDENTITY_2022: Final = "shadowsocks 2022 identity subkey"

Aead = AESGCM | ChaCha20Poly1305


class ShadowsocksError(CodecError):
    """What arrived is not what the format asks for; the message says, for people, what may be the reason."""


@dataclass(frozen=True)
class Method:
    """A cipher by the name that configurations have for it. A salt is as long as the key."""

    name: str
    key_len: int
    is_2022: bool
    is_aes: bool

    @property
    def most_per_chunk(self) -> int:
        """Octets of payload that one chunk of a stream may hold (SIP007; SIP022 §3.1.2)."""
        return 0xFFFF if self.is_2022 else 0x3FFF

    @property
    def has_users(self) -> bool:
        """Whether it has identity headers, by which one port serves many users; they need AES."""
        return self.is_2022 and self.is_aes

    def aead(self, key: bytes) -> Aead:
        """Return the cipher with a key."""
        return AESGCM(key) if self.is_aes else ChaCha20Poly1305(key)

    def subkey(self, key: bytes, salt: bytes) -> bytes:
        """Return the key of one session (SIP007; SIP022 §2.2)."""
        if self.is_2022:
            return blake3(key + salt, derive_key_context=_SUBKEY_2022).digest(self.key_len)
        return HKDF(SHA1(), self.key_len, salt, _SUBKEY_2017).derive(key)


_METHODS: Final = {
    method.name: method
    for method in (
        Method("aes-128-gcm", 16, is_2022=False, is_aes=True),
        Method("aes-192-gcm", 24, is_2022=False, is_aes=True),
        Method("aes-256-gcm", 32, is_2022=False, is_aes=True),
        Method("chacha20-ietf-poly1305", 32, is_2022=False, is_aes=False),
        Method("2022-blake3-aes-128-gcm", 16, is_2022=True, is_aes=True),
        Method("2022-blake3-aes-256-gcm", 32, is_2022=True, is_aes=True),
        Method("2022-blake3-chacha20-poly1305", 32, is_2022=True, is_aes=False),
    )
}
METHODS: Final = tuple(_METHODS)


@dataclass(frozen=True, repr=False)
class Keys:
    """What a client needs to know: the method, its key, and those of the servers that pass it on.

    identities are the keys of the layers before the last, whose headers stand in front (SIP022, identity
    headers); most have none.
    """

    method: Method
    key: bytes
    identities: tuple[bytes, ...] = ()


@dataclass(frozen=True, repr=False)
class ServerKeys:
    """What a server needs to know: the method, its key, and its users: the name and key behind each hash.

    Without users everybody who has the key is served.
    """

    method: Method
    key: bytes
    users: Mapping[bytes, tuple[str, bytes]]


def method_named(name: str) -> Method:
    """Return the method; raises OptionError for a name that nobody knows, or knows for good reasons."""
    found = _METHODS.get("chacha20-ietf-poly1305" if name == "chacha20-poly1305" else name)
    if found is None:
        known = ", ".join(METHODS)
        raise OptionError(f"there is no Shadowsocks method {name!r} (there are: {known})", "method")
    return found


def client_keys(method: str, password: str) -> Keys:
    """Return the keys for a method and a password; in the edition of 2022 that is base64, with : between.

    Raises OptionError, which never repeats the password.
    """
    found = method_named(method)
    if not found.is_2022:
        if not password:
            raise OptionError("a Shadowsocks password is missing", "password")
        return Keys(found, key_from_password(password.encode(), found.key_len))
    *identities, key = (_decoded(part, found) for part in password.split(":"))
    if identities and not found.has_users:
        why = f"the password has {len(identities) + 1} keys, and {found.name} takes one"
        raise OptionError(why, "password")
    return Keys(found, key, tuple(identities))


def server_keys(method: str, password: str, users: Mapping[str, str] | None = None) -> ServerKeys:
    """Return a server's keys; users are names and what each has as a password behind the server's and a :.

    Raises OptionError, which never repeats a password.
    """
    keys = client_keys(method, password)
    if keys.identities:
        why = "a Shadowsocks server has one key; those of its users are given one by one"
        raise OptionError(why, "password")
    if users and not keys.method.has_users:
        able = ", ".join(name for name, each in _METHODS.items() if each.has_users)
        raise OptionError(f"{keys.method.name} cannot tell users apart (these can: {able})", "users")
    found: dict[bytes, tuple[str, bytes]] = {}
    for name, text in (users or {}).items():
        try:
            key = _decoded(text, keys.method)
        except OptionError as error:
            raise OptionError(f"user {name!r}: {error}", "users", name) from error
        if identity_of(key) in found:
            why = f"{found[identity_of(key)][0]!r} has the same password"
            raise OptionError(f"user {name!r}: {why}", "users", name)
        found[identity_of(key)] = (name, key)
    return ServerKeys(keys.method, keys.key, found)


def key_from_password(password: bytes, key_len: int) -> bytes:
    """Return OpenSSL's EVP_BytesToKey with MD5, one round and no salt, which SIP004 asks for."""
    key = block = b""
    while len(key) < key_len:
        block = hashlib.md5(block + password, usedforsecurity=False).digest()
        key += block
    return key[:key_len]


def identity_of(key: bytes) -> bytes:
    """Return what an identity header says of the key that comes next."""
    return blake3(key).digest(IDENTITY_LEN)


def identity_key(key: bytes, salt: bytes, key_len: int) -> bytes:
    """Return the key that a stream's identity header is encrypted with."""
    return blake3(key + salt, derive_key_context=_IDENTITY_2022).digest(key_len)


def block_encryptor(key: bytes) -> CipherContext:
    """Return AES for single blocks: each ``update`` of 16 octets stands for itself."""
    return Cipher(AES(key), ECB()).encryptor()


def block_decryptor(key: bytes) -> CipherContext:
    """Return the reverse of ``block_encryptor``."""
    return Cipher(AES(key), ECB()).decryptor()


def _decoded(text: str, method: Method) -> bytes:
    """Return a key of the edition of 2022 (SIP022 §2.1)."""
    how = f"make one: openssl rand -base64 {method.key_len}"
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise OptionError(f"a password of {method.name} is a key in base64 ({how})", "password") from error
    if len(key) != method.key_len:
        why = f"{method.key_len} octets in base64, not {len(key)} ({how})"
        raise OptionError(f"a password of {method.name} is a key of {why}", "password")
    return key
