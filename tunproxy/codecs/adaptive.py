"""A compressed stream whose octets are packed only where that is worth it, and betrays nobody.

    clear ─▶ Exposure: a secret? ─▶ Gauge: does it shrink? ─▶ Packer: pack, or store ─▶ socket
    clear ◀─ Exposure ◀────────────────────────────────────── Unpacker ◀─────────────── socket

Both ends look at both directions, because a request with a cookie must leave its answer alone as well.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.codecs.entropy import Gauge
from tunproxy.codecs.exposure import Exposure
from tunproxy.codecs.packing import Packer, Unpacker, size_of
from tunproxy.flow.codec import Codec

# our choices
FLUSHED: Final[i64] = (
    1 << 20
)  # octets after which a stream that never pauses is flushed, to see what became of it
SMALL: Final[i64] = 4096  # octets: stored pieces that are smaller wait for others, to be framed together
MOST_WAITING: Final[i64] = 1 << 14


@final
@mypyc_attr(native_class=True)
class Adaptive(Codec):
    """Both directions of one flow. With compress_secrets, nobody looks for secrets."""

    def __init__(self, packer: Packer, unpacker: Unpacker, *, compress_secrets: bool = False) -> None:
        self._packer: Final = packer
        self._unpacker: Final = unpacker
        self._gauge: Final = Gauge()
        self._said: Final = Exposure(reads_answers=True)
        self._heard: Final = Exposure(reads_answers=False)
        self._looks: bool = not compress_secrets
        self.is_exposed: bool = False  # nothing more of this flow is packed by us
        self._waiting: list[bytes | memoryview] = []  # to be stored
        self._waiting_size: i64 = 0
        self._taken: i64 = 0  # octets packed since the last flush
        self._given: i64 = 0

    def encode(self, data: bytes | memoryview) -> bytes:
        return b"".join(self.encode_pieces([data])) if len(data) > 0 else b""

    def encode_pieces(self, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
        if self._looks and not self.is_exposed:
            for piece in pieces:
                if self._said.look(piece):
                    self.is_exposed = True
                    break
        size = size_of(pieces)
        if self.is_exposed or not self._gauge.wants(pieces[0], size):
            return self._store(pieces, size)
        words: list[bytes | memoryview] = self._stored() if self._waiting_size > 0 else []
        for piece in pieces:
            packed = self._packer.pack(piece)
            if len(packed) > 0:
                words.append(packed)
                self._given += len(packed)
        self._taken += size
        if self._taken >= FLUSHED:
            packed = self._flushed()
            if len(packed) > 0:
                words.append(packed)
        return words

    def keeps(self) -> bool:
        return self._taken > 0 or self._waiting_size > 0

    def flush(self) -> bytes:
        if self._taken > 0:
            return self._flushed()
        return b"".join(self._stored()) if self._waiting_size > 0 else b""

    def conceal(self, data: bytes | memoryview) -> bytes:
        words = self.flush()
        return words + b"".join(self._packer.store([data])) if len(data) > 0 else words

    def end(self) -> bytes:
        return self.flush() + self._packer.end()

    def decode(self, data: bytes) -> bytes:
        clear = self._unpacker.unpack(data)
        if self._looks and not self.is_exposed and len(clear) > 0:
            self._said.note_question()
            self.is_exposed = self._heard.look(clear)
        return clear

    def decode_pieces(self, data: bytes) -> list[bytes | memoryview]:
        clear = self._unpacker.unpack_pieces(data)
        if self._looks and not self.is_exposed and len(clear) > 0:
            self._said.note_question()
            for piece in clear:
                if self._heard.look(piece):
                    self.is_exposed = True
                    break
        return clear

    def has_more(self) -> bool:
        return self._unpacker.has_more()

    def decode_end(self) -> bytes:
        self._unpacker.check_end()
        return b""

    def _store(self, pieces: list[bytes | memoryview], size: i64) -> list[bytes | memoryview]:
        """Pass pieces on as they are; where these are few octets, they wait for others until flush."""
        packed = self._flushed() if self._taken > 0 else b""
        words: list[bytes | memoryview] = [packed] if len(packed) > 0 else []
        if size < SMALL and self._waiting_size + size < MOST_WAITING:
            self._waiting.extend(pieces)
            self._waiting_size += size
            return words
        if self._waiting_size > 0:
            words.extend(self._stored())
        words.extend(self._packer.store(pieces))
        return words

    def _stored(self) -> list[bytes | memoryview]:
        """Store what waits."""
        pieces = self._waiting
        self._waiting = []
        self._waiting_size = 0
        return self._packer.store(pieces)

    def _flushed(self) -> bytes:
        """Flush the packer, and have the result judged."""
        words = self._packer.flush()
        self._gauge.packed(self._taken, self._given + len(words))
        self._taken = 0
        self._given = 0
        return words
