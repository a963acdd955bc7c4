"""Protocol buffers, as much as v2fly's .dat files need: fields of a message, without a schema.

Wire types: 0 varint, 1 eight octets, 2 octets with their length before them, 5 four octets.
"""

from collections.abc import Iterator
from typing import Final

from tunproxy.rulesets.octets import Octets

VARINT: Final = 0
_FIXED64: Final = 1
BYTES: Final = 2
_FIXED32: Final = 5


def fields_of(data: bytes, name: str) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field of a message: int for a varint, else octets; raises RuleError."""
    octets = Octets(data, name)
    end = len(data)
    while octets.at < end:
        key = octets.uvarint()
        kind = key & 7
        if kind == VARINT:
            yield key >> 3, octets.uvarint()
        elif kind == BYTES:
            yield key >> 3, octets.take(octets.uvarint())
        elif kind == _FIXED64:
            yield key >> 3, octets.take(8)
        elif kind == _FIXED32:
            yield key >> 3, octets.take(4)
        else:
            raise octets.error(f"damaged message (wire type {kind})")


def text_of(value: int | bytes) -> str:
    """Return a field's value as text; "" for a number."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
