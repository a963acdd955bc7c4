"""Single items of rule sets: names with Clash's wildcards, and addresses.

A function here puts one item into a content and returns "", or returns why it cannot.
"""

import re
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final

from tunproxy.rules.build import ascii_name
from tunproxy.rules.model import RuleSetContent
from tunproxy.rules.regexes import compile_regex

MAX_NAME_LEN: Final = 253  # RFC 1035 §2.3.4, without the dot at the end
# Marks of other lists (`||a.com^`) are here, too: whoever reads them as names hears of it.
NOT_IN_NAMES: Final = re.compile(r"[\x00-\x20\x7f/\\,;:'\"#@()\[\]{}|^!$%&=?<>~`]")
_PLAIN: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
MAPPED: Final = 0xFFFF  # what is above the 32 bits of an IPv4 address in an IPv6 one (RFC 4291 §2.5.5.2)


def add_pattern(content: RuleSetContent, text: str) -> str:
    """Add a name as behavior `domain` writes it: `a.com`, `+.a.com`, `.a.com`, `*.a.com`."""
    name, why = clean_name(text)
    if why:
        return why
    if "*" in name:
        if any("*" in label and label != "*" for label in name.split(".")):
            return f"in {text!r} a '*' stands for a part of a label (it is always a whole label)"
        content.wildcard.append(name)
    elif name.startswith("+."):
        content.suffix.append(name[2:])
    elif name.startswith("."):
        content.below.append(name[1:])
    else:
        content.exact.append(name)
    return ""


def clean_name(text: str) -> tuple[str, str]:
    """Return a name or a pattern in lower case and ASCII, and what is wrong with it or ""."""
    if _PLAIN.fullmatch(text) and len(text) <= MAX_NAME_LEN:
        return text, ""
    name = text.lower()
    if not name:
        return "", "the name is empty"
    if not name.isascii():
        name = ascii_name(name)
        if not name.isascii():
            return "", f"{text!r} is no name"
    if name.endswith("."):
        return "", f"{text!r} ends in a dot"
    if ".." in name:
        return "", f"{text!r} has an empty label"
    if NOT_IN_NAMES.search(name):
        return "", f"{text!r} is no name"
    if len(name) > MAX_NAME_LEN + 2:  # `+.` may stand before it
        return "", f"a name has no more than {MAX_NAME_LEN} characters"
    return name, ""


def expression_problem(text: str) -> str:
    """Return why text is no regular expression that we can use, or ""."""
    try:
        compile_regex(text)
    except ValueError as error:
        return f"bad expression {text!r}: {error}"
    return ""


def add_prefix(content: RuleSetContent, text: str) -> str:
    """Add an address or a prefix; host bits that are set are ignored, as other programs do."""
    found = parse_prefix(text)
    if found is None:
        return f"{text!r} is no address or prefix"
    content.ranges.append(found)
    return ""


def parse_prefix(text: str) -> tuple[int, int, int] | None:
    """Return the range of an address or a prefix as RuleSetContent keeps it, or None."""
    address, slash, length = text.partition("/")
    version = 6 if ":" in address else 4
    try:
        packed = inet_pton(AF_INET6 if version == 6 else AF_INET, address)
    except (OSError, ValueError):  # ValueError: a NUL in it
        return None
    bits = 8 * len(packed)
    if not slash:
        host_bits = 0
    elif length.isascii() and length.isdigit() and len(length) <= 3 and int(length) <= bits:
        host_bits = bits - int(length)
    else:
        return None
    first = int.from_bytes(packed, "big") >> host_bits << host_bits
    return make_range(version, first, first | (1 << host_bits) - 1)


def make_range(version: int, first: int, last: int) -> tuple[int, int, int]:
    """Return a range; IPv4 addresses that are written as IPv6 become IPv4."""
    if version == 6 and first >> 32 == MAPPED and last >> 32 == MAPPED:
        return 4, first & 0xFFFF_FFFF, last & 0xFFFF_FFFF
    return version, first, last


def packed_range(first: bytes, last: bytes) -> tuple[int, int, int] | None:
    """Return the range between two packed addresses, or None where they make none."""
    if len(first) != len(last) or len(first) not in (4, 16) or first > last:
        return None
    version = 4 if len(first) == 4 else 6
    return make_range(version, int.from_bytes(first, "big"), int.from_bytes(last, "big"))


def prefixes_of(found: tuple[int, int, int]) -> list[str]:
    """Return the fewest prefixes that are the range, in order."""
    version, first, last = found
    bits = 32 if version == 4 else 128
    prefixes = []
    while first <= last:
        free = min((first & -first).bit_length() - 1 if first else bits, (last - first + 1).bit_length() - 1)
        prefixes.append(f"{address_text(version, first)}/{bits - free}")
        first += 1 << free
    return prefixes


def address_text(version: int, number: int) -> str:
    """Return an address as people write it."""
    if version == 4:
        return ".".join(str(number >> shift & 0xFF) for shift in (24, 16, 8, 0))
    return inet_ntop(AF_INET6, number.to_bytes(16, "big"))
