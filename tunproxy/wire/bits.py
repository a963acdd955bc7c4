"""Big-endian fields in bytes, alike compiled and interpreted.

The casts of mypyc's native integers truncate only when compiled, so reading masks the sign away and
writing folds the value into the signed range first.
"""

from librt.strings import (
    BytesWriter,
    read_i16_be,
    read_i16_le,
    read_i32_be,
    write_i16_be,
    write_i16_le,
    write_i32_be,
)
from mypy_extensions import i16, i32, i64


def u16(buf: bytes, at: i64) -> i64:
    """Return the 16-bit big-endian word at octet at; at + 2 must not pass the end."""
    return i64(read_i16_be(buf, at)) & 0xFFFF


def u16_le(buf: bytes, at: i64) -> i64:
    """Return the 16-bit little-endian word at octet at; at + 2 must not pass the end."""
    return i64(read_i16_le(buf, at)) & 0xFFFF


def u32(buf: bytes, at: i64) -> i64:
    """Return the 32-bit big-endian word at octet at; at + 4 must not pass the end."""
    return i64(read_i32_be(buf, at)) & 0xFFFF_FFFF


def put16(out: BytesWriter, value: i64) -> None:
    """Append the low 16 bits of value, big-endian."""
    write_i16_be(out, i16(((value & 0xFFFF) ^ 0x8000) - 0x8000))


def put16_le(out: BytesWriter, value: i64) -> None:
    """Append the low 16 bits of value, little-endian."""
    write_i16_le(out, i16(((value & 0xFFFF) ^ 0x8000) - 0x8000))


def put32(out: BytesWriter, value: i64) -> None:
    """Append the low 32 bits of value, big-endian."""
    write_i32_be(out, i32(((value & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000))
