"""Addresses in rules: CIDR prefixes, IP-SUFFIX, and sets of address ranges.

Packed addresses are compared as integers of 32 or 128 bits. An IPv6 address that carries an IPv4 one
(::ffff:0:0/96) is compared as the IPv4 address, which is what the flow really goes to.
"""

from typing import Final, final

from librt.strings import read_i32_be
from mypy_extensions import i64, mypyc_attr

from tunproxy.rules.facts import INDETERMINATE, MATCHED, NEEDS_ADDRESS, NOT_MATCHED, SKIPPED, Facts, Matcher
from tunproxy.rules.ranges import RangeSet

V4_MAPPED: Final = b"\0" * 10 + b"\xff\xff"  # RFC 4291 §2.5.5.2


def plain(address: bytes) -> bytes:
    """Return address, as 4 octets where it is an IPv4 address in an IPv6 one."""
    if len(address) == 16 and address[:12] == V4_MAPPED:
        return address[12:]
    return address


def number(address: bytes) -> int:
    """Return a packed address as an integer."""
    return int.from_bytes(address, "big")


def number_v4(address: bytes) -> i64:
    """Return an address of 4 octets as an integer."""
    return i64(read_i32_be(address, 0)) & 0xFFFF_FFFF


@final
@mypyc_attr(native_class=True)
class AddressSet:
    """Ranges of addresses of both versions."""

    def __init__(self, ranges: list[tuple[int, int, int]]) -> None:
        """ranges are (4 or 6, first, last)."""
        self.v4: Final = RangeSet([(first, last) for version, first, last in ranges if version == 4])
        self.v6: Final = RangeSet([(first, last) for version, first, last in ranges if version == 6])
        self.empty: Final = not ranges

    def has(self, address: bytes) -> bool:
        """Return whether the packed address is in one of the ranges."""
        bare = plain(address)
        return self.v4.has(number_v4(bare)) if len(bare) == 4 else self.v6.has_big(number(bare))


def address_of(facts: Facts, source: bool) -> bytes:
    """Return the address that a rule is about, b"" where there is none."""
    return facts.source if source else facts.target


def without_address(facts: Facts, source: bool, no_resolve: bool) -> i64:
    """Return what a condition on an address answers while there is no address.

    With no_resolve it waits for the address too where a part of the same rule before it has asked for it.
    """
    if source or facts.address_asked or facts.host == "":
        return NOT_MATCHED  # nothing can be resolved
    if (no_resolve or facts.no_resolve) and facts.needs & NEEDS_ADDRESS == 0:
        return SKIPPED
    facts.needs |= NEEDS_ADDRESS
    return INDETERMINATE


@final
@mypyc_attr(native_class=True)
class InRanges(Matcher):
    """IP-CIDR, GEOIP, IP-ASN and their SRC- forms."""

    def __init__(self, addresses: AddressSet, source: bool, no_resolve: bool, negated: bool = False) -> None:
        self.addresses: Final = addresses
        self.source: Final = source
        self.no_resolve: Final = no_resolve
        self.negated: Final = negated

    def test(self, facts: Facts) -> i64:
        address = address_of(facts, self.source)
        if not address:
            return without_address(facts, self.source, self.no_resolve)
        return MATCHED if self.addresses.has(address) != self.negated else NOT_MATCHED

    def needs(self) -> i64:
        return 0 if self.source or self.no_resolve else NEEDS_ADDRESS


@final
@mypyc_attr(native_class=True)
class EndsLike(Matcher):
    """IP-SUFFIX and SRC-IP-SUFFIX: the last bits are those of an address of the same version."""

    def __init__(self, address: bytes, bits: i64, source: bool, no_resolve: bool) -> None:
        bare = plain(address)
        self.length: i64 = len(bare)
        self.mask: Final = (1 << int(bits)) - 1
        self.value: Final = number(bare) & self.mask
        self.source: Final = source
        self.no_resolve: Final = no_resolve

    def test(self, facts: Facts) -> i64:
        address = address_of(facts, self.source)
        if not address:
            return without_address(facts, self.source, self.no_resolve)
        bare = plain(address)
        if len(bare) != self.length:
            return NOT_MATCHED
        return MATCHED if number(bare) & self.mask == self.value else NOT_MATCHED

    def needs(self) -> i64:
        return 0 if self.source or self.no_resolve else NEEDS_ADDRESS
