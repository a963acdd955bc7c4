"""Zstandard's library is there, by one name or the other."""

from tunproxy.codecs import library


def test_everything_that_is_listed_is_there() -> None:
    assert all(hasattr(library, name) for name in library.__all__)


def test_it_packs_and_unpacks() -> None:
    packed = library.ZstdCompressor().compress(b"text", library.ZstdCompressor.FLUSH_FRAME)
    assert library.ZstdDecompressor().decompress(packed) == b"text"
