"""Shadowsocks over TCP (SIP004, SIP007: edition 2017; SIP022 §3.1: 2022): the format, and the client's end.

    2017    salt ‖ chunk …                          the client's first octets in the clear are the target
    2022    salt ‖ identity … ‖ 11 header ‖ .. target, padding, payload ‖ chunk …           from the client
            salt ‖ 27 or 43 header ‖ .. payload ‖ chunk …                                   from the server

Neither edition says at the end that nothing follows: a stream that was cut off between two chunks looks like
one that has ended. Within a chunk it does not.
"""

import os
import time
from collections.abc import Callable
from typing import Final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.codecs.shadowsocks_chunks import LENGTH_LEN, Inbox, Sealer, Unsealer, word
from tunproxy.codecs.shadowsocks_keys import (
    TAG_LEN,
    Keys,
    Method,
    ShadowsocksError,
    block_encryptor,
    identity_key,
    identity_of,
)
from tunproxy.codecs.shadowsocks_replay import SaltMemory
from tunproxy.flow.codec import Codec

FROM_CLIENT: Final = b"\x00"  # header types (SIP022 §3.1.3)
FROM_SERVER: Final = b"\x01"
MAX_PADDING: Final = 900
CLOCK_SKEW: Final = 30  # seconds that two clocks may differ
REQUEST_HEADER_LEN: Final = 11

# our choices
# more than a client takes to speak once it is connected, little for one who waits to be spoken to
FIRST_WORDS: Final[i64] = 3_000  # µs
SMALL: Final[i64] = 8192  # octets: copying fewer costs less than a chunk of their own

# what comes next
SALT: Final = 0
HEADER: Final = 1
FIRST: Final = 2  # the chunk whose length the header says: of a request the target, of a response payload
LENGTH: Final = 3
PAYLOAD: Final = 4


@mypyc_attr(allow_interpreted_subclasses=True)
class ShadowsocksStream(Codec):
    """What both ends have in common: chunks in either direction, once each has begun.

    now is a clock of seconds since 1970, random a source of as many octets as it is asked for.
    """

    def __init__(self, method: Method, now: Callable[[], float], random: Callable[[int], bytes]) -> None:
        self._method: Final = method
        self._now: Final = now
        self._random: Final = random
        self._sealer: Sealer | None = None
        self._unsealer: Unsealer | None = None
        self._inbox: Final = Inbox()
        self._next: i64 = SALT
        self._wanted: i64 = method.key_len  # octets that what comes next has
        self._most: Final[i64] = method.most_per_chunk
        self._is_spoiled: bool = False

    def encode(self, data: bytes | memoryview) -> bytes:
        out: list[bytes | memoryview] = []
        sealer = self._sealer
        if sealer is None:
            self._begin(data, out)
        else:
            sealer.seal_chunks(data, 0, out)
        return b"".join(out)

    def encode_pieces(self, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
        out: list[bytes | memoryview] = []
        sealer = self._sealer
        if sealer is None:
            self._begin(b"".join(pieces), out)
            return out
        small: list[bytes | memoryview] = []
        for piece in pieces:
            if i64(len(piece)) < SMALL:
                small.append(piece)
                continue
            if len(small) > 0:
                sealer.seal_chunks(b"".join(small), 0, out)
                small.clear()
            sealer.seal_chunks(piece, 0, out)
        if len(small) > 0:
            sealer.seal_chunks(small[0] if len(small) == 1 else b"".join(small), 0, out)
        return out

    def keeps(self) -> bool:
        return False

    def decode(self, data: bytes) -> bytes:
        if self._is_spoiled:
            raise ShadowsocksError("the stream has been spoiled before")
        self._is_spoiled = True  # unless it goes well
        inbox = self._inbox
        inbox.put(data)
        found: list[bytes] = []
        while inbox.has(self._wanted):
            piece = inbox.take(self._wanted)
            if self._next == PAYLOAD:
                assert self._unsealer is not None
                found.append(self._unsealer.unseal(piece))
                self._next = LENGTH
                self._wanted = LENGTH_LEN
            elif self._next == LENGTH:
                assert self._unsealer is not None
                self._read_length(self._unsealer.unseal(piece))
            else:
                self._read_start(piece, found)
        self._is_spoiled = False
        return found[0] if len(found) == 1 else b"".join(found)

    def _read_length(self, length: bytes) -> None:
        size = i64(length[0]) << 8 | i64(length[1])
        if size > self._most:
            raise ShadowsocksError(f"a chunk of {size} octets, where {self._most} is the most")
        self._next = PAYLOAD
        self._wanted = size + TAG_LEN

    def decode_end(self) -> bytes:
        if self._next == SALT and self._inbox.is_empty():
            self._on_silence()
        elif not self._inbox.is_empty() or self._next != LENGTH:
            raise ShadowsocksError("truncated: the stream ends within a chunk")
        return b""

    def on_reset(self) -> None:
        if self._next == SALT and self._inbox.is_empty():
            self._on_silence()

    def _begin(self, payload: bytes | memoryview, out: list[bytes | memoryview]) -> None:
        """Begin what we say, with payload if there is any."""
        raise NotImplementedError

    def _read_start(self, piece: bytes | memoryview, found: list[bytes]) -> None:
        """Take what comes before the ordinary chunks: a salt, a header, what the header describes."""
        raise NotImplementedError

    def _on_silence(self) -> None:
        """Note that the other end has ended without a word."""

    def _check_time(self, stamp: bytes) -> None:
        """Raise ShadowsocksError where a time stamp is not of our time (SIP022 §3.1.3)."""
        skew = int.from_bytes(stamp, "big") - int(self._now())
        if abs(skew) > CLOCK_SKEW:
            raise ShadowsocksError(clock_words(skew))

    def _stamp(self) -> bytes:
        return int(self._now()).to_bytes(8, "big")


@mypyc_attr(allow_interpreted_subclasses=True)
class ShadowsocksClient(ShadowsocksStream):
    """The client's end of one stream to address, which is in the form of ``emit_address``.

    What is said first goes out together with the target; ``flush`` sends the target alone where nothing has
    been said yet, so that whoever holds the codec waits a moment before it. salts, where it is given, is the
    memory of all streams to one server: what it said before, nobody can say again (SIP022 §3.1.4); nor what
    we said ourselves, which in the edition of 2017 nothing tells from an answer.
    """

    def __init__(
        self,
        keys: Keys,
        address: bytes,
        salts: SaltMemory | None = None,
        now: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        super().__init__(keys.method, now, random)
        self._keys: Final = keys
        self._address: Final = address
        self._salts: Final = salts
        self._salt: bytes = b""
        self._their_salt: bytes = b""
        self._has_ended: bool = False

    def keeps(self) -> bool:
        return self._sealer is None

    def patience(self) -> Micros:
        return FIRST_WORDS if self._sealer is None else -1

    def flush(self) -> bytes:
        return self.encode(b"") if self._sealer is None else b""

    def end(self) -> bytes:
        self._has_ended = True
        return self.flush()

    def _begin(self, payload: bytes | memoryview, out: list[bytes | memoryview]) -> None:
        keys = self._keys
        method = self._method
        salt = self._random(method.key_len)
        self._salt = salt
        sealer = Sealer(method, method.subkey(keys.key, salt))
        self._sealer = sealer
        out.append(salt)
        if not method.is_2022:
            if self._salts is not None:
                self._salts.is_new(salt, 0.0)
            sealer.seal_chunks(self._address + payload, 0, out)
            return
        layers = (*keys.identities, keys.key)
        for at in range(len(layers) - 1):
            key = identity_key(layers[at], salt, method.key_len)
            out.append(block_encryptor(key).update(identity_of(layers[at + 1])))
        size = i64(len(payload))
        room: i64 = 0xFFFF - i64(len(self._address)) - 2
        first = room if size > room else size
        # either payload or padding, so that the length of the first packet does not give us away (§3.1.3)
        padding = 0 if first > 0 else 1 + int.from_bytes(self._random(4), "big") % MAX_PADDING
        head = b"".join((self._address, word(padding), self._random(padding), memoryview(payload)[:first]))
        out.append(sealer.seal(FROM_CLIENT + self._stamp() + word(len(head))))
        out.append(sealer.seal(head))
        sealer.seal_chunks(payload, first, out)

    def _read_start(self, piece: bytes | memoryview, found: list[bytes]) -> None:
        keys = self._keys
        method = self._method
        if self._next == SALT:
            self._their_salt = bytes(piece)
            self._unsealer = Unsealer(method, method.subkey(keys.key, self._their_salt))
            self._next = HEADER
            self._wanted = 11 + method.key_len + TAG_LEN if method.is_2022 else LENGTH_LEN
            return
        assert self._unsealer is not None
        clear = self._unsealer.unseal(piece)
        if not method.is_2022:  # the first length, which proves that the salt is of somebody with the key
            self._note_salt()
            self._read_length(clear)
            return
        if self._next == FIRST:
            found.append(clear)
            self._next = LENGTH
            self._wanted = LENGTH_LEN
            return
        if clear[:1] != FROM_SERVER:
            raise ShadowsocksError("what arrived is no server's answer: our own words came back")
        self._check_time(clear[1:9])
        if clear[9:-2] != self._salt:
            raise ShadowsocksError("the answer belongs to another stream")
        self._note_salt()
        self._next = FIRST
        self._wanted = (i64(clear[-2]) << 8 | i64(clear[-1])) + TAG_LEN

    def _note_salt(self) -> None:
        if self._salts is not None and not self._salts.is_new(self._their_salt, self._now()):
            raise ShadowsocksError("replayed session: the server has said that before")

    def decode_end(self) -> bytes:
        if self._next == HEADER and self._inbox.is_empty() and not self._method.is_2022:
            return b""  # a salt, and nothing to say
        return super().decode_end()

    def _on_silence(self) -> None:
        # A server that cannot read us says nothing, and neither does one whose target cannot be reached.
        if not self._has_ended:
            raise ShadowsocksError(
                "the server hung up without an answer: password, method or clock is wrong,"
                " or its target cannot be reached"
            )


def clock_words(skew: int) -> str:
    """Return what is wrong with a time stamp, for people; skew is in seconds, positive where it is ahead."""
    return (
        f"clock differs by {abs(skew)} s: {CLOCK_SKEW} s is the most (set both clocks, or replayed session)"
    )
