"""Arithmetic of sequence numbers modulo 2**32 (RFC 9293 §3.4).

Numbers are i64 in 0 … 2**32 - 1; every subtraction is masked, so compiled and interpreted agree.
"""

from mypy_extensions import i64


def seq_add(a: i64, count: i64) -> i64:
    """Return the number count octets behind a."""
    return (a + count) & 0xFFFF_FFFF


def seq_sub(a: i64, b: i64) -> i64:
    """Return the signed distance from b to a, -2**31 … 2**31 - 1."""
    return ((a - b + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000


def seq_lt(a: i64, b: i64) -> bool:
    """Tell whether a comes before b."""
    return ((a - b) & 0xFFFF_FFFF) >= 0x8000_0000


def seq_le(a: i64, b: i64) -> bool:
    """Tell whether a comes before b or is b."""
    return ((b - a) & 0xFFFF_FFFF) < 0x8000_0000


def seq_max(a: i64, b: i64) -> i64:
    """Return the later of the two."""
    return b if seq_lt(a, b) else a
