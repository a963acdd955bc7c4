"""What counts as one target: a site, whatever the names of its hosts, or else an address."""

from functools import lru_cache
from typing import Final

from publicsuffixlist import PublicSuffixList

from tunproxy.plugin.api import FlowInfo

# our choice
KEPT: Final = 4096  # names


@lru_cache(1)
def suffixes() -> PublicSuffixList:
    """Return the list of public suffixes. The first call takes some 50 ms: not while flows wait."""
    return PublicSuffixList()


@lru_cache(KEPT)
def site_of(host: str) -> str:
    """Return the registrable domain that host belongs to, "example.co.uk" for "www.example.co.uk".

    A name that belongs to none, a public suffix or a single label, is its own.
    """
    name = host.rstrip(".").lower()
    return suffixes().privatesuffix(name) or name


def key_of(info: FlowInfo) -> bytes:
    """Return what flows to one target have in common."""
    return site_of(info.name).encode() if info.name else info.target
