"""Addresses that stand for names: nobody has them, and who connects to one means the name.

A name gets a number, and with it one address of each family, the same ones for as long as it is used. When
all numbers are taken, that of the name which nobody has asked for or connected to for the longest time goes
to a new one; but none that was used a moment ago, because a program that still has the address would then
reach somebody else. When no number can be had, the name gets its real addresses. Flows that are open do not
matter: their targets were settled when they began.
"""

import ipaddress
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from tunproxy.clock import Micros
from tunproxy.dns.fake_store import FakeStore
from tunproxy.dns.hosts import pointer_name
from tunproxy.dns.labels import name_of
from tunproxy.dns.message import AAAA, PTR, A, Answer
from tunproxy.dns.names import FakeNames
from tunproxy.dns.packing import records_answer
from tunproxy.dns.settings import DEFAULT_FILTER, IPV4_RANGE, IPV6_RANGE
from tunproxy.errors import ConfigError
from tunproxy.rules.domains import LabelTrie
from tunproxy.rules.numbers import NONE

# our choices
TTL: Final = 1  # second: what programs remember is not to outlive us
RESERVED: Final = 16  # numbers of no name: the network's own address, and those of the device
QUIET: Final[Micros] = 60_000_000  # a name that was used since keeps its number

TOLD_AFTER: Final[Micros] = 15_000_000  # well within QUIET

_HOST: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


class _Lease:
    """A name's number, when it was last used, how many flows are open to it, and the answers about it."""

    __slots__ = ("ipv4", "ipv6", "name", "number", "used_at")

    def __init__(self, name: str, number: int, used_at: Micros) -> None:
        self.name: Final = name
        self.number: Final = number
        self.used_at = used_at
        self.ipv4: Answer | None = None
        self.ipv6: Answer | None = None


class FakePool(FakeNames):
    """The names that have numbers. now is the packet path's clock; store keeps them, where there is one.

    Names that one of filtered describes (as Clash writes it) get their real addresses. With ipv6 "" there
    are no IPv6 addresses, and a question for one has an empty answer. Raises ConfigError for a range that is
    none, or too small.
    """

    def __init__(
        self,
        now: Callable[[], Micros],
        store: FakeStore | None = None,
        *,
        ipv4: str = IPV4_RANGE,
        ipv6: str = IPV6_RANGE,
        filtered: Iterable[str] = DEFAULT_FILTER,
        may_lease: bool = True,
    ) -> None:
        """Without may_lease it hands out what it has learnt, and nothing new."""
        self._now: Final = now
        self._store: Final = store
        first, size = parse_range(ipv4, 4)
        self._ipv4: Final = first
        self._ipv6 = -1
        if ipv6:
            self._ipv6, other = parse_range(ipv6, 6)
            size = min(size, other)
        self._size: Final = size
        self._filter = _filter_of(filtered)
        self._leases: Final[dict[str, _Lease]] = {}  # the least recently used first
        self._of_number: Final[dict[int, _Lease]] = {}
        self._next = RESERVED
        self._free: Final[deque[int]] = deque()  # numbers of names that were forgotten
        self._is_draining = False
        self.leased: Callable[[int, str], None] | None = None  # told of each name that gets a number
        self.used: Callable[[int], None] | None = None  # told of numbers that are used, now and then
        self._may_lease: Final = may_lease
        self._told_at: Micros = -1  # when somebody was last told a fake address
        if store is not None:
            for number, name in store.load().items():
                if RESERVED <= number < size:
                    self._enter(name, number, now())  # programs may remember it
            self._next = max(self._of_number, default=RESERVED - 1) + 1

    def __len__(self) -> int:
        """Return how many names have numbers."""
        return len(self._leases)

    def wants(self, host: str) -> bool:
        """Tell whether host is to have fake addresses."""
        if self._is_draining or _HOST.fullmatch(host) is None:
            return False
        return self._filter.next(host, 0) == NONE

    def answer(self, host: str, kind: int) -> Answer | None:
        """Return the answer about host, which wants one; None where its real addresses are needed."""
        if kind != A and kind != AAAA:
            return None
        lease = self._lease(host)
        if lease is None:
            return None
        self._told_at = lease.used_at
        if kind == A:
            if lease.ipv4 is None:
                lease.ipv4 = records_answer(A, TTL, [(self._ipv4 + lease.number).to_bytes(4, "big")])
            return lease.ipv4
        if lease.ipv6 is None:
            found = [] if self._ipv6 < 0 else [(self._ipv6 + lease.number).to_bytes(16, "big")]
            lease.ipv6 = records_answer(AAAA, TTL, found)
        return lease.ipv6

    def pointer(self, host: str) -> Answer | None:
        """Return the answer to who has an address, asked as host; None where it is none of ours."""
        address = _pointed(host)
        if address is None or not self.has(address):
            return None
        lease = self._of_number.get(self._number(address))
        return records_answer(PTR, TTL, [name_of(lease.name)] if lease is not None else [])

    def has(self, address: bytes) -> bool:
        return self._number(address) >= 0

    def name_of(self, address: bytes) -> str:
        lease = self._of_number.get(self._number(address))
        if lease is None:
            return ""
        if self.used is not None and self._now() - lease.used_at > TOLD_AFTER:
            self.used(lease.number)
        self._touch(lease)
        return lease.name

    def serve(self, filtered: Iterable[str]) -> None:
        """Hand out fake addresses from now on, but for the names that one of filtered describes."""
        self._filter = _filter_of(filtered)
        self._is_draining = False

    @property
    def told_ago(self) -> Micros:
        """How long ago somebody was told a fake address, -1 for not at all in this run."""
        return self._now() - self._told_at if self._told_at >= 0 else -1

    def flush(self) -> int:
        """Forget the names that nobody has used for a while; return how many it were.

        Others get their numbers when there are no fresh ones any more. A name that was just asked for keeps
        its address, as a program may be about to use it.
        """
        limit = self._now() - QUIET
        gone = [each for each in self._leases.values() if each.used_at <= limit]
        for lease in gone:
            del self._leases[lease.name]
            del self._of_number[lease.number]
            self._free.append(lease.number)
        if gone and self._store is not None:
            self._store.rewrite((each.number, each.name) for each in self._leases.values())
        return len(gone)

    def learn(self, number: int, host: str) -> None:
        """Take note that host has a number, which somebody else has given it."""
        before = self._leases.get(host)
        if not RESERVED <= number < self._size or (before is not None and before.number == number):
            return
        if before is not None:
            del self._leases[host], self._of_number[before.number]
        taken = self._of_number.get(number)
        if taken is not None:
            del self._leases[taken.name]
        self._enter(host, number, self._now())
        self._next = max(self._next, number + 1)
        if self._store is not None:
            self._store.append(number, host)

    def touch(self, number: int) -> None:
        """Take note that somebody uses the name of a number."""
        lease = self._of_number.get(number)
        if lease is not None:
            self._touch(lease)

    def known(self) -> Iterator[tuple[int, str]]:
        """Yield what learn takes, of each name, those used earlier first."""
        for lease in list(self._leases.values()):  # who uses one meanwhile changes their order
            yield lease.number, lease.name

    def drain(self) -> None:
        """Hand out no fake addresses any more; those that are out keep their meaning."""
        self._is_draining = True

    def close(self) -> None:
        """Let go of the file, with the names in the order of their use."""
        if self._store is not None:
            self._store.rewrite((lease.number, lease.name) for lease in self._leases.values())
            self._store.close()

    def _lease(self, host: str) -> _Lease | None:
        lease = self._leases.get(host)
        if lease is not None:
            self._touch(lease)
            return lease
        if not self._may_lease:
            return None
        if self._next < self._size:
            number = self._next
            self._next += 1
        else:
            number = self._take_free()
            if number < 0:
                number = self._take_back()
            if number < 0:
                return None
        lease = self._enter(host, number, self._now())
        if self.leased is not None:
            self.leased(number, host)
        if self._store is not None:
            self._store.append(number, host)
            if self._store.is_long(len(self._leases)):
                self._store.rewrite((each.number, each.name) for each in self._leases.values())
        return lease

    def _take_free(self) -> int:
        """Return a number whose name was forgotten and that nobody has got since; -1 for none."""
        while self._free:
            number = self._free.popleft()
            if number not in self._of_number:
                return number
        return -1

    def _take_back(self) -> int:
        """Return the number of the name that was not used for the longest time; -1 for none to spare."""
        limit = self._now() - QUIET
        oldest = next(iter(self._leases.values()), None)
        if oldest is None or oldest.used_at > limit:
            return -1
        del self._leases[oldest.name]
        return oldest.number

    def _enter(self, name: str, number: int, used_at: Micros) -> _Lease:
        lease = _Lease(name, number, used_at)
        self._leases[name] = lease
        self._of_number[number] = lease
        return lease

    def _touch(self, lease: _Lease) -> None:
        lease.used_at = self._now()
        del self._leases[lease.name]
        self._leases[lease.name] = lease

    def _number(self, address: bytes) -> int:
        """Return the number that a packed address belongs to, -1 for other people's addresses."""
        if len(address) == 16 and self._ipv6 < 0:
            return -1
        first = self._ipv4 if len(address) == 4 else self._ipv6
        number = int.from_bytes(address, "big") - first
        return number if 0 <= number < self._size else -1


def _filter_of(patterns: Iterable[str]) -> LabelTrie:
    """Return what finds the names that patterns describe."""
    found = LabelTrie()
    for pattern in patterns:
        found.add(pattern.lower().rstrip("."), 0)
    return found


def parse_range(text: str, version: int) -> tuple[int, int]:
    """Return the first address of a range, and how many numbers it has room for; raises ConfigError."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(f"fake-ip range {text!r}: {error}") from error
    if network.version != version or network.num_addresses < 4 * RESERVED:
        raise ConfigError(f"fake-ip range {text!r}: not an IPv{version} range of {4 * RESERVED} or more")
    size = min(network.num_addresses - 1, 1 << 20)  # not the last: broadcast, in IPv4
    return int(network.network_address), size


def _pointed(host: str) -> bytes | None:
    """Return the packed address that a name below in-addr.arpa or ip6.arpa asks about; None for others."""
    if host.endswith(".in-addr.arpa"):
        parts = host.removesuffix(".in-addr.arpa").split(".")
        if len(parts) == 4 and all(part.isdecimal() and int(part) < 256 for part in parts):
            address = bytes(int(part) for part in reversed(parts))
            return address if pointer_name(address) == host else None
    elif host.endswith(".ip6.arpa"):
        digits = host.removesuffix(".ip6.arpa").split(".")
        if len(digits) == 32 and all(len(each) == 1 and each in "0123456789abcdef" for each in digits):
            return bytes.fromhex("".join(reversed(digits)))
    return None
