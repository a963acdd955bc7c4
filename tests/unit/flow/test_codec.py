"""What a codec need not say: everything but how it encodes and decodes has an answer already."""

from tunproxy.flow.codec import Codec


class Swap(Codec):
    """The least a codec must be."""

    def encode(self, data: bytes | memoryview) -> bytes:
        return bytes(data).swapcase()

    def decode(self, data: bytes) -> bytes:
        return data.swapcase()


def test_codec_without_state_has_nothing_to_flush_or_to_end() -> None:
    codec: Codec = Swap()
    assert codec.decode(codec.encode(memoryview(b"Hello"))) == b"Hello"
    assert codec.flush() == codec.end() == codec.answer() == codec.decode_end() == b""
    assert not codec.has_ended()
    assert not codec.has_more()


def test_codec_that_says_nothing_of_it_may_keep_something_back() -> None:
    assert Swap().keeps()


def test_secret_is_encoded_and_flushed_like_anything_else() -> None:
    class Keeping(Swap):
        def flush(self) -> bytes:
            return b"!"

    assert Keeping().conceal(b"secret") == b"SECRET!"


def test_codec_that_says_nothing_of_it_has_no_first_words_and_knows_nothing_of_resets() -> None:
    assert Swap().patience() == -1
    Swap().on_reset()


def test_codec_that_says_nothing_of_it_returns_one_piece_or_none() -> None:
    assert Swap().decode_pieces(b"hello") == [b"HELLO"]
    assert Swap().decode_pieces(b"") == []
