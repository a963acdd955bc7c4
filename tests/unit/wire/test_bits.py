"""Big-endian and little-endian words."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from tunproxy.wire.bits import put16, put16_le, put32, u16, u16_le, u32


@given(st.binary(min_size=4, max_size=40), st.data())
def test_words_are_read_as_struct_reads_them(buffer: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(buffer) - 4))
    assert u16(buffer, at) == struct.unpack_from("!H", buffer, at)[0]
    assert u16_le(buffer, at) == struct.unpack_from("<H", buffer, at)[0]
    assert u32(buffer, at) == struct.unpack_from("!I", buffer, at)[0]


@given(st.integers(-(2**40), 2**40))
def test_words_are_written_modulo_their_size(value: int) -> None:
    out = BytesWriter()
    put16(out, value)
    put16_le(out, value)
    put32(out, value)
    assert out.getvalue() == struct.pack("!H", value % 2**16) + struct.pack(
        "<H", value % 2**16
    ) + struct.pack("!I", value % 2**32)


@pytest.mark.parametrize("at", [3, 100])
def test_reading_past_the_end_is_a_callers_mistake(at: int) -> None:
    with pytest.raises(IndexError):
        u16(b"abcd", at)
