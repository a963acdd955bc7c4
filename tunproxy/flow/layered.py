"""Codecs in a row: each does its part to what the one above it has done.

clear ─▶ first ─▶ … ─▶ last ─▶ socket
clear ◀─ first ◀─ … ◀─ last ◀─ socket
"""

from collections.abc import Sequence
from typing import Final, final

from mypy_extensions import mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.codec import Codec


@final
@mypyc_attr(native_class=True)
class Layered(Codec):
    """One codec inside another: upper is the target's, lower what the socket carries."""

    def __init__(self, upper: Codec, lower: Codec) -> None:
        self._upper: Final = upper
        self._lower: Final = lower

    def encode(self, data: bytes | memoryview) -> bytes:
        words = self._upper.encode(data)
        return self._lower.encode(words) if len(words) > 0 else b""

    def encode_pieces(self, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
        words = self._upper.encode_pieces(pieces)
        return self._lower.encode_pieces(words) if len(words) > 0 else words

    def keeps(self) -> bool:
        return self._upper.keeps() or self._lower.keeps()

    def flush(self) -> bytes:
        return self._sent(self._upper.flush()) + self._lower.flush()

    def patience(self) -> Micros:
        upper, lower = self._upper.patience(), self._lower.patience()
        return upper if upper > lower else lower

    def conceal(self, data: bytes | memoryview) -> bytes:
        words = self._upper.conceal(data)
        return self._lower.conceal(words) if len(words) > 0 else b""

    def end(self) -> bytes:
        return self._sent(self._upper.end()) + self._lower.flush() + self._lower.end()

    def decode(self, data: bytes) -> bytes:
        if len(data) == 0 and self._upper.has_more():
            return self._upper.decode(b"")
        clear = self._lower.decode(data)
        return self._upper.decode(clear) if len(clear) > 0 else b""

    def decode_pieces(self, data: bytes) -> list[bytes | memoryview]:
        if len(data) == 0 and self._upper.has_more():
            return self._upper.decode_pieces(b"")
        clear = self._lower.decode(data)
        return self._upper.decode_pieces(clear) if len(clear) > 0 else []

    def has_more(self) -> bool:
        return self._upper.has_more() or self._lower.has_more()

    def answer(self) -> bytes:
        above = self._upper.answer()
        words = self._lower.answer() + self._sent(above)
        return words + self._lower.flush() if above else words

    def has_ended(self) -> bool:
        return self._upper.has_ended() or self._lower.has_ended()

    def decode_end(self) -> bytes:
        if self._upper.has_ended():  # whatever the lower one thinks of it: the stream is complete
            return b""
        rest = self._lower.decode_end()
        clear = self._upper.decode(rest) if len(rest) > 0 else b""
        return clear if self.has_more() else clear + self._upper.decode_end()

    def on_reset(self) -> None:
        self._upper.on_reset()
        self._lower.on_reset()

    def _sent(self, words: bytes) -> bytes:
        return self._lower.encode(words) if len(words) > 0 else b""


def layered(codecs: Sequence[Codec]) -> Codec:
    """Return several codecs as one; the first is nearest to the clear stream. There is at least one."""
    found = codecs[-1]
    for codec in reversed(codecs[:-1]):
        found = Layered(codec, found)
    return found


def decode_all(codec: Codec, data: bytes) -> bytes:
    """Return all that data unfolds to, however much: only for what has been bounded, or is trusted."""
    found = codec.decode(data)
    while codec.has_more():
        found += codec.decode(b"")
    return found
