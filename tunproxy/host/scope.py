"""What is captured, and what is left alone: what the policy rules are made of."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from tunproxy.host.addresses import Network

MAX_UID: Final = 0xFFFF_FFFE  # linux/highuid.h; the number above means none

Address = IPv4Address | IPv6Address
Uids = tuple[int, int]  # the first and the last of a range


@dataclass(frozen=True)
class Scope:
    """What is captured of what this host sends, and of what it forwards for others.

    users are those whose programs are captured, None for all; excluded_users is taken from them. With
    forwarded, that is what comes in by interfaces, all of them where none is named, and by none of
    excluded_interfaces.

    excluded are targets that are left alone; so is what carries one of marks, pairs of a mark and its mask.
    With dns, port 53 is captured wherever it leads, but to dns_except. has_lane says that prefixes may be
    excepted from the lane's table (``lane``). By cgroups, the sockets of programs carry a bit of a mark
    (``cgroups``): INCLUDED where only those are captured, EXCLUDED where they are not. spares_answers
    says that what is forwarded as an answer carries one, too (``answer_marks``).
    """

    forwarded: bool = False
    interfaces: tuple[str, ...] = ()
    excluded_interfaces: tuple[str, ...] = ()
    users: tuple[Uids, ...] | None = None
    excluded_users: tuple[Uids, ...] = ()
    excluded: tuple[Network, ...] = ()
    marks: tuple[tuple[int, int], ...] = ()
    only_cgroups: bool = False
    spares_cgroups: bool = False
    dns: bool = False
    dns_except: tuple[Address, ...] = ()
    has_lane: bool = False
    spares_answers: bool = False

    def users_left_alone(self) -> list[Uids]:
        """Return the users whose programs are not captured, as few ranges in order."""
        captured = ((0, MAX_UID),) if self.users is None else self.users
        return complement(subtract(captured, self.excluded_users))


def merged(ranges: Iterable[Uids]) -> list[Uids]:
    """Return the same numbers as few ranges, in order."""
    found: list[Uids] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def complement(ranges: Iterable[Uids]) -> list[Uids]:
    """Return all users that are not in ranges."""
    found: list[Uids] = []
    start = 0
    for first, last in merged(ranges):
        if start < first:
            found.append((start, first - 1))
        start = last + 1
    if start <= MAX_UID:
        found.append((start, MAX_UID))
    return found


def subtract(ranges: Iterable[Uids], others: Iterable[Uids]) -> list[Uids]:
    """Return what of ranges is not in others."""
    return complement([*complement(ranges), *others])
