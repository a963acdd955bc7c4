"""Names in wire form, a length before each label, and as text (RFC 1035 §3.1, §5.1)."""

import re
from typing import Final

MAX_NAME: Final = 255  # RFC 1035 §2.3.4
MAX_LABEL: Final = 63

_PLAIN: Final = re.compile("[!-\\-/-\\[\\]-~]*")  # what is printed, without the dot and the backslash


def skip_name(wire: bytes, at: int) -> int:
    """Return the octet behind the name at octet at, which may be compressed; -1 where there is no name."""
    size = len(wire)
    while at < size:
        length = wire[at]
        if length == 0:
            return at + 1
        if length > MAX_LABEL:
            return at + 2 if length >= 0xC0 and at + 2 <= size else -1
        at += length + 1
    return -1


def text_of(name: bytes) -> str:
    """Return a name in wire form as text without the last dot; odd octets as \\DDD (RFC 1035 §5.1)."""
    labels = []
    at = 0
    while at < len(name) and name[at]:
        label = name[at + 1 : at + 1 + name[at]].decode("latin-1")
        labels.append(label if _PLAIN.fullmatch(label) else "".join(_escaped(each) for each in label))
        at += name[at] + 1
    return ".".join(labels)


def _escaped(letter: str) -> str:
    return letter if _PLAIN.fullmatch(letter) else f"\\{ord(letter):03}"


def name_of(text: str) -> bytes:
    """Return a name in wire form, in lower case; raises ValueError for what is no name."""
    wire = bytearray()
    for label in text.rstrip(".").split(".") if text.strip(".") else ():
        packed = label.lower().encode("ascii") if label.isascii() else label.lower().encode("idna")
        if not 0 < len(packed) <= MAX_LABEL:
            raise ValueError(f"{text!r} is no host name")
        wire += bytes((len(packed),)) + packed
    wire.append(0)
    if len(wire) > MAX_NAME:
        raise ValueError(f"{text!r} is no host name")
    return bytes(wire)
