"""Rendezvous hashing: of all members the one that scores highest for a key takes it.

Everybody who knows the members comes to the same result, today and tomorrow. When a member goes, its keys,
and no others, go to the rest, evenly (Thaler and Ravishankar:
"A name-based mapping scheme for rendezvous", 1996).
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from tunproxy.plugin.api import Upstream

_MASK: Final = (1 << 64) - 1


def hash_of(data: bytes) -> int:
    """Return 64 bits that depend on all of data, and are the same on every machine."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def score(key: int, seed: int) -> int:
    """Return 64 bits that look random for every pair of key and seed (the finalizer of SplitMix64)."""
    bits = (key ^ seed) & _MASK
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    return bits ^ (bits >> 31)


def highest(key: int, members: Iterable[Upstream], seeds: dict[str, int]) -> Upstream | None:
    """Return the member that scores highest for key; seeds are the hashes of their names."""
    return max(members, key=lambda member: score(key, seeds[member.name]), default=None)
