"""What both ends of Shadowsocks over UDP have in common: how datagrams are sealed, and what is in front.

The format is in ``shadowsocks_packet``.
"""

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag

from tunproxy.codecs.shadowsocks_address import address_end
from tunproxy.codecs.shadowsocks_keys import (
    TAG_LEN,
    Aead,
    Method,
    ShadowsocksError,
    block_decryptor,
    block_encryptor,
)
from tunproxy.codecs.shadowsocks_replay import PacketWindow
from tunproxy.codecs.shadowsocks_stream import CLOCK_SKEW, clock_words
from tunproxy.codecs.xchacha import XCHACHA_NONCE_LEN, XChaCha20Poly1305

SESSION_LEN: Final = 8
HEAD_LEN: Final = 16  # session and number
NO_PADDING: Final = b"\x00\x00"
_ZERO: Final = bytes(12)  # the nonce of 2017: every packet has a key of its own

_WRONG: Final = "wrong password or method: a datagram cannot be decrypted, or was changed on its way"
SHORT: Final = "truncated: a datagram is shorter than its headers"


class Sender:
    """The other end's session: its key, and which of its packets have been seen."""

    __slots__ = ("_aead", "last_at", "session", "window")

    def __init__(self, session: bytes, aead: Aead | None) -> None:
        self.session: Final = session
        self.window: Final = PacketWindow()
        self.last_at = 0.0
        self._aead: Final = aead

    def open(self, sealed: bytes, session: bytes, number: int) -> bytes:
        """Return the body in the clear; where there is no separate header, it is that already."""
        if self._aead is None:
            return sealed
        try:
            return self._aead.decrypt((session + number.to_bytes(8, "big"))[4:], sealed, None)
        except InvalidTag:
            raise ShadowsocksError(_WRONG) from None


class Box:
    """What one key does in the edition of 2022."""

    def __init__(self, method: Method, key: bytes) -> None:
        self._method: Final = method
        self._key: Final = key
        self._whole: Final = None if method.is_aes else XChaCha20Poly1305(key)
        self._encryptor: Final = block_encryptor(key) if method.is_aes else None
        self._decryptor: Final = block_decryptor(key) if method.is_aes else None

    def aead(self, session: bytes) -> Aead | None:
        """Return what the bodies of a session are sealed with; None where datagrams are sealed whole."""
        if self._whole is not None:
            return None
        return self._method.aead(self._method.subkey(self._key, session))

    def encrypt_head(self, head: bytes) -> bytes:
        """Return session and number as they stand in front of a datagram."""
        assert self._encryptor is not None
        return self._encryptor.update(head)

    def seal_whole(self, random: Callable[[int], bytes], head: bytes, body: bytes) -> bytes:
        """Return a datagram without a separate header (§4.1)."""
        assert self._whole is not None
        number = random(XCHACHA_NONCE_LEN)
        return number + self._whole.encrypt(number, head + body, None)

    def split(self, datagram: bytes, skipped: int) -> tuple[bytes, int, bytes]:
        """Return session, number, and what is left; skipped octets lie between. Raises ShadowsocksError."""
        if self._whole is None:
            if len(datagram) < HEAD_LEN + skipped + TAG_LEN:
                raise ShadowsocksError(SHORT)
            assert self._decryptor is not None
            head = self._decryptor.update(datagram[:HEAD_LEN])
            left = datagram[HEAD_LEN + skipped :]
        else:
            if len(datagram) < XCHACHA_NONCE_LEN + HEAD_LEN + TAG_LEN:
                raise ShadowsocksError(SHORT)
            try:
                clear = self._whole.decrypt(datagram[:XCHACHA_NONCE_LEN], datagram[XCHACHA_NONCE_LEN:], None)
            except InvalidTag:
                raise ShadowsocksError(_WRONG) from None
            head, left = clear[:HEAD_LEN], clear[HEAD_LEN:]
        return head[:SESSION_LEN], int.from_bytes(head[SESSION_LEN:], "big"), left


def seal_2017(method: Method, key: bytes, salt: bytes, address: bytes, payload: bytes | memoryview) -> bytes:
    """Return a datagram of 2017."""
    return salt + method.aead(method.subkey(key, salt)).encrypt(_ZERO, address + payload, None)


def unseal_2017(method: Method, key: bytes, datagram: bytes) -> tuple[bytes, bytes]:
    """Return salt, and address ‖ payload."""
    if len(datagram) < method.key_len + TAG_LEN:
        raise ShadowsocksError(SHORT)
    salt = datagram[: method.key_len]
    try:
        clear = method.aead(method.subkey(key, salt)).decrypt(_ZERO, datagram[method.key_len :], None)
    except InvalidTag:
        raise ShadowsocksError(_WRONG) from None
    return salt, clear


def checked_end(body: bytes, start: int) -> int:
    """Return where the address that begins at start ends. Raises ShadowsocksError."""
    end = address_end(body, start)
    if end < 0:
        raise ShadowsocksError("truncated: a datagram ends within its address")
    return end


def stamp_of(now: Callable[[], float]) -> bytes:
    """Return a time stamp."""
    return int(now()).to_bytes(8, "big")


def check_time(stamp: bytes, now: Callable[[], float]) -> None:
    """Raise ShadowsocksError where a time stamp is not of our time (§3.2.3)."""
    skew = int.from_bytes(stamp, "big") - int(now())
    if abs(skew) > CLOCK_SKEW:
        raise ShadowsocksError(clock_words(skew))


def xor(one: bytes, other: bytes) -> bytes:
    """Return the one added to the other, bit by bit; both are of one length."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")
