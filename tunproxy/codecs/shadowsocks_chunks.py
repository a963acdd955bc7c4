"""The chunks of a Shadowsocks stream: sealed one by one, each with the next number as its nonce.

    2 length, sealed  18 payload, sealed  ..        (SIP007; SIP022 §3.1.2)

Each chunk takes two numbers, one for its length and one for its payload, and has a tag behind either.
"""

from collections.abc import Callable
from typing import Final, final

from cryptography.exceptions import InvalidTag
from mypy_extensions import i64, mypyc_attr

from tunproxy.codecs.shadowsocks_keys import TAG_LEN, Method, ShadowsocksError

LENGTH_LEN: Final[i64] = 2 + TAG_LEN  # octets of a sealed length
NONCE_LEN: Final = 12

Seal = Callable[[bytes, bytes | memoryview, None], bytes]


@final
@mypyc_attr(native_class=True)
class Sealer:
    """One direction of one stream, on its way out. Its key is used for nothing else."""

    def __init__(self, method: Method, subkey: bytes) -> None:
        self._seal: Final[Seal] = method.aead(subkey).encrypt
        self._most: Final[i64] = method.most_per_chunk
        self._number: i64 = 0

    def seal(self, data: bytes | memoryview) -> bytes:
        """Return data sealed, without a length in front."""
        number = self._number
        self._number = number + 1
        return self._seal(nonce(number), data, None)

    def seal_chunks(self, data: bytes | memoryview, at: i64, out: list[bytes | memoryview]) -> None:
        """Append data from at on to out, in chunks as large as can be; of nothing, no chunk."""
        seal = self._seal
        number = self._number
        most = self._most
        size = i64(len(data))
        view = memoryview(data)
        while at < size:
            end = at + most
            if end > size:
                end = size
            out.append(seal(nonce(number), word(end - at), None))
            out.append(seal(nonce(number + 1), view[at:end], None))
            number += 2
            at = end
        self._number = number


@final
@mypyc_attr(native_class=True)
class Unsealer:
    """One direction of one stream, on its way in, as far as its key is known. Raises ShadowsocksError."""

    def __init__(self, method: Method, subkey: bytes) -> None:
        self._unseal: Final[Seal] = method.aead(subkey).decrypt
        self._number: i64 = 0

    def unseal(self, data: bytes | memoryview) -> bytes:
        """Return the next piece in the clear; the first tells whether both ends have the same key."""
        number = self._number
        self._number = number + 1
        try:
            return self._unseal(nonce(number), data, None)
        except InvalidTag:
            if number == 0:
                raise ShadowsocksError("wrong password or method: what arrived cannot be decrypted") from None
            raise ShadowsocksError("the stream was changed on its way: its check fails") from None


@final
@mypyc_attr(native_class=True)
class Inbox:
    """What has arrived and not been taken yet: cut anywhere, and taken in pieces of a size that is known.

    What is taken out of the middle of one read is a view of it; only what lies across two reads is copied.
    """

    def __init__(self) -> None:
        self._held: Final[
            list[bytes | memoryview]
        ] = []  # before the last read, which is in _data from _at on
        self._held_len: i64 = 0
        self._data: bytes = b""
        self._view: memoryview = memoryview(b"")
        self._at: i64 = 0

    def put(self, data: bytes) -> None:
        """Take what a read has returned."""
        left = i64(len(self._data)) - self._at
        if left > 0:
            self._held.append(self._view[self._at :])
            self._held_len += left
        self._data = data
        self._view = memoryview(data)
        self._at = 0

    def has(self, size: i64) -> bool:
        """Tell whether so many octets can be taken."""
        return self._held_len + i64(len(self._data)) - self._at >= size

    def is_empty(self) -> bool:
        """Tell whether nothing has been left over."""
        return self._held_len == 0 and self._at >= i64(len(self._data))

    def take(self, size: i64) -> bytes | memoryview:
        """Return the next octets, which are there; at least as many as are held."""
        start = self._at
        self._at = end = start + size - self._held_len
        if self._held_len == 0:
            return self._view[start:end]
        # what is held was too little for what was wanted then, and that is still wanted
        self._held.append(self._view[start:end])
        whole = b"".join(self._held)
        self._held.clear()
        self._held_len = 0
        return whole


def nonce(number: i64) -> bytes:
    """Return the nonce of the number-th piece of a stream: little-endian (SIP004; SIP022 §3.1.1)."""
    return int(number).to_bytes(NONCE_LEN, "little")


def word(value: i64) -> bytes:
    """Return 16 bits, big-endian."""
    return bytes((value >> 8, value & 0xFF))
