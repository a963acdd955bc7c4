"""What a worker does when the supervisor tells it that the network around it is another one (``reconcile``).

    our addresses   flows that left from one that is gone are reset, ways through proxies opened anew
    sources         those of them that we leave from by the way out
    renewals        the way out is another one, or the machine has slept: upstreams are tested anew, and
                    connections to resolvers, which may be dead without anybody saying so, are closed
    loops           over which versions of IP our own packets come back to us: new flows are refused there

What clients were told of names, and answers that are still good, stay.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Final, Protocol  # Any as JSON has it

from tunproxy.host.addresses import Network

MAX_KNOWN: Final = 4096  # our choice: addresses whose answer is kept


class Leaving(Protocol):
    """Flows that can be without a way out: the tables."""

    def cut_off(self, is_here: Callable[[str], bool]) -> int:
        """End those whose way out is gone; return how many."""


class LocalAddresses:
    """Tells which addresses are this host's."""

    def __init__(self, prefixes: tuple[str, ...] = ()) -> None:
        """Raises ValueError for what is no prefix."""
        self.prefixes: Final = frozenset(prefixes)
        networks = [ip_network(prefix) for prefix in prefixes]
        single = [each for each in networks if each.prefixlen == each.max_prefixlen]
        self._known: Final = {str(each.network_address): True for each in single}
        self._wide: Final[list[Network]] = [each for each in networks if each.prefixlen != each.max_prefixlen]

    def has(self, address: str) -> bool:
        """Tell whether an address, as the kernel writes it, is one of them."""
        known = self._known.get(address)
        if known is None:
            found = ip_address(address)
            known = found.is_loopback or any(found in each for each in self._wide)
            if len(self._known) < MAX_KNOWN:
                self._known[address] = known
        return known


class Uplink:
    """Answers the question ``uplink``. renew are called where connections of our own may be dead.

    refuse is told the versions of IP over which our own packets come back.
    """

    def __init__(
        self,
        tables: Sequence[Leaving],
        renew: Sequence[Callable[[], None]] = (),
        refuse: Callable[[Collection[int]], None] = lambda versions: None,
    ) -> None:
        self.local = LocalAddresses()
        self._tables: Final = tables
        self._renew: Final = renew
        self._refuse: Final = refuse
        self._renewals: int | None = None
        self._sources: frozenset[str] = frozenset()

    def is_here(self, address: str) -> bool:
        """Tell whether an address is this host's, as of now. Raises ValueError for what is none."""
        return self.local.has(address)

    def is_way_out(self, address: str) -> bool:
        """Tell whether what leaves from an address of this host leaves by the way out."""
        return address in self._sources

    def take(self, about: Mapping[str, Any]) -> dict[str, object]:
        """Take note of how things are; return how many flows that has cost."""
        local = LocalAddresses(tuple(map(str, about["local"])))
        renewals = int(about["renewals"])
        self._sources = frozenset(map(str, about.get("sources", ())))
        self._refuse(tuple(map(int, about.get("loops", ()))))
        before, self.local = self.local, local
        is_first = self._renewals is None
        is_renewed = not is_first and renewals != self._renewals
        self._renewals = renewals
        count = 0
        # The first time nothing is different: what is being opened just then is on the way that there is.
        if is_renewed or before.prefixes - local.prefixes:
            count = sum(table.cut_off(local.has) for table in self._tables)
        if is_renewed:
            for each in self._renew:
                each()
        return {"reset": count}
