"""Addresses that stand for names: nobody has them, and who connects to one means the name.

A name gets a number, and with it one address of each family, the same ones for as long as it is used. When
all numbers are taken, that of the name which nobody has asked for or connected to for the longest time goes
to a new one; but none that was used a moment ago, or that a flow is open to, because a program that still
has the address would then reach somebody else. So many stay in reserve, and when no number can be had, the
name gets its real addresses.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
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

_HOST: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


class _Lease:
    """A name's number, when it was last used, how many flows are open to it, and the answers about it."""

    __slots__ = ("holds", "ipv4", "ipv6", "name", "number", "used_at")

    def __init__(self, name: str, number: int, used_at: Micros) -> None:
        self.name: Final = name
        self.number: Final = number
        self.used_at = used_at
        self.holds = 0
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
    ) -> None:
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
        self._is_draining = False
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
        self._touch(lease)
        return lease.name

    def hold(self, address: bytes) -> None:
        """Keep the name of address, for a flow that is open to it."""
        lease = self._of_number.get(self._number(address))
        if lease is not None:
            lease.holds += 1

    def release(self, address: bytes) -> None:
        """Undo hold, when the flow is over."""
        lease = self._of_number.get(self._number(address))
        if lease is not None and lease.holds > 0:
            lease.holds -= 1
            self._touch(lease)

    def serve(self, filtered: Iterable[str]) -> None:
        """Hand out fake addresses from now on, but for the names that one of filtered describes."""
        self._filter = _filter_of(filtered)
        self._is_draining = False

    def drain(self) -> None:
        """Hand out no fake addresses any more; those that are out keep their meaning."""
        self._is_draining = True

    @property
    def holds(self) -> int:
        """How many flows are open to fake addresses."""
        return sum(lease.holds for lease in self._leases.values())

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
        if self._next < self._size:
            number = self._next
            self._next += 1
        else:
            number = self._take_back()
            if number < 0:
                return None
        lease = self._enter(host, number, self._now())
        if self._store is not None:
            self._store.append(number, host)
            if self._store.is_long(len(self._leases)):
                self._store.rewrite((each.number, each.name) for each in self._leases.values())
        return lease

    def _take_back(self) -> int:
        """Return the number of the name that was not used for the longest time; -1 for none to spare."""
        limit = self._now() - QUIET
        for lease in self._leases.values():
            if lease.used_at > limit:
                return -1
            if lease.holds == 0:
                del self._leases[lease.name]
                return lease.number
        return -1

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
