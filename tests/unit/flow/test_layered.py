"""Codecs in a row: as if each had a socket of its own."""

import zlib

import pytest

from tests.unit.codecs.streams import decoded, encoded, heard, json_lines, noise, pieces
from tunproxy.codecs.named import make
from tunproxy.flow.codec import Codec, CodecError
from tunproxy.flow.layered import Layered, decode_all, layered


class Framed(Codec):
    """Octets in frames of ten with a checksum, as encryption has it, and a last one that is empty."""

    def __init__(self) -> None:
        self.kept = b""
        self.arrived = b""
        self.over = False

    def encode(self, data: bytes | memoryview) -> bytes:
        assert len(data) > 0
        self.kept += data
        whole = len(self.kept) // 10 * 10
        words, self.kept = self.kept[:whole], self.kept[whole:]
        return b"".join(self._frame(piece) for piece in pieces(words, 10))

    def keeps(self) -> bool:
        return len(self.kept) > 0

    def flush(self) -> bytes:
        kept, self.kept = self.kept, b""
        return self._frame(kept) if kept else b""

    def end(self) -> bytes:
        assert not self.kept
        return self._frame(b"")

    def decode(self, data: bytes) -> bytes:
        self.arrived += data
        found = b""
        while self.arrived and len(self.arrived) >= 5 + self.arrived[0]:
            size = self.arrived[0]
            piece, check = self.arrived[1 : 1 + size], self.arrived[1 + size : 5 + size]
            if zlib.crc32(piece).to_bytes(4, "big") != check:
                raise CodecError("a frame is corrupt")
            self.over = size == 0
            found += piece
            self.arrived = self.arrived[5 + size :]
        return found

    def answer(self) -> bytes:
        return b""

    def has_ended(self) -> bool:
        return self.over

    def decode_end(self) -> bytes:
        if not self.over:
            raise CodecError("frames are missing")
        return b""

    def _frame(self, data: bytes) -> bytes:
        return bytes([len(data)]) + data + zlib.crc32(data).to_bytes(4, "big")


class Asking(Codec):
    """Says "?" for whatever it hears."""

    def __init__(self) -> None:
        self.said = b""

    def encode(self, data: bytes | memoryview) -> bytes:
        return bytes(data)

    def decode(self, data: bytes) -> bytes:
        self.said = b"?"
        return data

    def answer(self) -> bytes:
        said, self.said = self.said, b""
        return said


def chain() -> Codec:
    return layered([make("zstd"), Framed()])


@pytest.mark.parametrize("size", [1, 100, 50_000])
def test_chain_does_what_its_parts_do_one_after_the_other(size: int) -> None:
    clear = json_lines(100) + noise(5000)
    words = encoded(chain(), pieces(clear, 3000))
    inner = decoded(Framed(), words)
    assert decoded(make("zstd"), inner) == clear
    assert decoded(chain(), words, size) == clear


def test_chain_of_three() -> None:
    def three() -> Codec:
        return layered([Framed(), make("gzip"), Framed()])

    clear = json_lines(40)
    assert decoded(three(), encoded(three(), [clear])) == clear


def test_single_codec_is_itself() -> None:
    codec = Framed()
    assert layered([codec]) is codec


def test_flush_reaches_through_all_of_them() -> None:
    ours, theirs = chain(), chain()
    for word in (b"a", b"word", b"x" * 100):
        assert heard(theirs, ours.encode(word) + ours.flush()) == word
        assert not ours.keeps()


def test_nothing_is_encoded_where_the_upper_keeps_it() -> None:
    ours = chain()
    assert ours.encode(b"kept") == b""  # and the lower one is not asked
    assert ours.keeps()


def test_concealed_octets_are_concealed_by_each() -> None:
    ours = layered([make("zstd"), Framed()])
    inner = decoded(Framed(), ours.conceal(b"login") + Framed().end())
    assert b"login" in inner


def test_bomb_comes_in_portions_through_a_chain() -> None:
    words = encoded(chain(), [bytes(4 << 20)])
    theirs = chain()
    first = theirs.decode(words)
    assert len(first) <= 1 << 18
    assert theirs.has_more()
    total = len(first)
    while theirs.has_more():
        total += len(theirs.decode(b""))
    assert total == 4 << 20


def test_decode_all_returns_all_of_it() -> None:
    words = encoded(make("zstd"), [bytes(1 << 20)])
    assert decode_all(make("zstd"), words) == bytes(1 << 20)
    assert decode_all(Framed(), b"") == b""


def test_cut_stream_is_an_error_of_whichever_notices() -> None:
    words = encoded(chain(), [b"text" * 100])
    for size in range(0, len(words), 7):
        theirs = chain()
        heard(theirs, words[:size])
        with pytest.raises(CodecError):
            theirs.decode_end()
    upper_cut = encoded(Framed(), [encoded(make("zstd"), [b"text"])[:-3]])
    theirs = chain()
    heard(theirs, upper_cut)
    with pytest.raises(CodecError, match="cut off"):
        theirs.decode_end()


def test_answer_of_the_upper_goes_through_the_lower() -> None:
    both = Layered(Asking(), Framed())
    assert both.answer() == b""
    both.decode(encoded(Framed(), [b"x"]))
    assert decoded(Framed(), both.answer() + Framed().end()) == b"?"
    assert both.has_ended()


class Waiting(Asking):
    """Has first words, and takes every reset for a fault."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.waits = waits

    def patience(self) -> int:
        return self.waits

    def on_reset(self) -> None:
        raise CodecError(f"reset after {self.waits}")


@pytest.mark.parametrize(("upper", "lower"), [(5, -1), (-1, 5), (5, 3), (3, 5), (-1, -1)])
def test_first_words_of_either_wait_for_the_clients(upper: int, lower: int) -> None:
    assert Layered(Waiting(upper), Waiting(lower)).patience() == max(upper, lower)


def test_reset_is_told_to_both() -> None:
    Layered(Asking(), Framed()).on_reset()
    with pytest.raises(CodecError, match="after 1"):
        Layered(Waiting(1), Framed()).on_reset()
    with pytest.raises(CodecError, match="after 2"):
        Layered(Asking(), Waiting(2)).on_reset()


@pytest.mark.parametrize("size", [1000, 65_536])
def test_pieces_are_what_decode_returns(size: int) -> None:
    clear = noise(300_000) + json_lines(3000)
    words = encoded(Layered(make("zstd"), Framed()), pieces(clear, 1 << 16))
    codec = Layered(make("zstd"), Framed())
    found: list[bytes | memoryview] = []
    for piece in pieces(words, size):
        found += codec.decode_pieces(piece)
        while codec.has_more():
            found += codec.decode_pieces(b"")
    assert all(len(piece) > 0 for piece in found)
    assert b"".join(found) + codec.decode_end() == clear
