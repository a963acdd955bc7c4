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
