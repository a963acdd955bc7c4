"""Which name a client means by an address: what it was told when it asked for the name.

One address has many names, and two clients may know it by different ones. So names are kept by client and
address, each with the time it was told and until when it counts. The newest comes first, and the others are
named beside it, so that nobody takes a guess for knowledge.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from tunproxy.clock import Micros

# our choices
MAX_NAMES: Final = 65_536  # of everybody, some 300 octets each
MAX_OF_CLIENT: Final = 16_384
MAX_CANDIDATES: Final = 8  # names of one address: a shared host has thousands, and the newest are meant
GRACE: Final[Micros] = 600_000_000  # programs use addresses for longer than their TTL
_SECOND: Final = 1_000_000


class Found(NamedTuple):
    """The name that is most likely meant, whence it is known, and all names, the newest first.

    whence is "dns", "fake-ip", or "" where nothing is known; host is "" then, also where a fake address has
    lost its name.
    """

    host: str
    whence: str
    candidates: tuple[str, ...]


NOTHING: Final = Found("", "", ())

_Told = tuple[str, Micros, Micros]  # the name, when it was told, until when it counts


class FakeNames:
    """Those addresses that stand for a name and nothing else; here there are none."""

    def has(self, address: bytes) -> bool:
        """Tell whether a packed address is a fake one, whether it stands for a name now or not."""
        return False

    def name_of(self, address: bytes) -> str:
        """Return the name that a packed address stands for, "" where it stands for itself."""
        return ""


class NameTable:
    """Names by (client, address), both packed. fakes is asked first: its addresses have one name each."""

    def __init__(
        self,
        fakes: FakeNames | None = None,
        *,
        max_names: int = MAX_NAMES,
        max_of_client: int = MAX_OF_CLIENT,
    ) -> None:
        self.fakes: FakeNames = fakes if fakes is not None else FakeNames()
        self.told: Callable[[bytes, str, Sequence[bytes], int, Micros], None] | None = None  # what is added
        self.before_lookup: Callable[[], None] | None = None  # for what has not been added yet, but could be
        self._clients: Final[dict[bytes, dict[bytes, tuple[_Told, ...]]]] = {}
        self._max_addresses: Final = max_names
        self._max_of_client: Final = max_of_client
        self._count = 0

    def __len__(self) -> int:
        """Return how many pairs of client and address have names."""
        return self._count

    def add(self, client: bytes, name: str, addresses: Sequence[bytes], ttl: int, now: Micros) -> None:
        """Remember that client was told addresses for name, good for ttl seconds."""
        if not addresses:
            return
        if self.told is not None:
            self.told(client, name, addresses, ttl, now)
        self.learn(client, name, addresses, ttl, now)

    def learn(self, client: bytes, name: str, addresses: Sequence[bytes], ttl: int, now: Micros) -> None:
        """Remember what somebody else has told client."""
        known = self._clients.pop(client, None)
        if known is None:
            known = {}
        self._clients[client] = known  # to the end: the latest
        told = (name, now, now + ttl * _SECOND + GRACE)
        for address in addresses:
            before = known.pop(address, None)
            if before is None:
                known[address] = (told,)
                self._count += 1
                continue
            others = tuple(each for each in before if each[0] != name and each[2] > now)
            known[address] = (told, *others[: MAX_CANDIDATES - 1])
        while len(known) > self._max_of_client:
            del known[next(iter(known))]
            self._count -= 1
        while self._count > self._max_addresses:
            self._forget_oldest()

    def lookup(self, client: bytes, address: bytes, now: Micros) -> Found:
        """Return what client means by address, as far as is known. Called once per flow."""
        if self.before_lookup is not None:
            self.before_lookup()
        if self.fakes.has(address):
            fake = self.fakes.name_of(address)
            return Found(fake, "fake-ip", (fake,) if fake else ())
        known = self._clients.get(client)
        if known is None:
            return NOTHING
        told = known.get(address)
        if told is None:
            return NOTHING
        if len(told) == 1 and told[0][2] > now:
            name = told[0][0]
            return Found(name, "dns", (name,))
        names = tuple(each[0] for each in told if each[2] > now)
        return Found(names[0], "dns", names) if names else NOTHING

    def known(self, now: Micros) -> Iterator[tuple[bytes, str, bytes, int, Micros]]:
        """Yield what learn takes, of one address at a time, the latest last; not what no longer counts."""
        for client, known in self._clients.items():
            for address, told in known.items():
                for name, at, until in reversed(told):
                    if until > now:
                        yield client, name, address, (until - at - GRACE) // _SECOND, at

    def _forget_oldest(self) -> None:
        """Make the client that has asked for nothing for the longest time forget its oldest address."""
        client, known = next(iter(self._clients.items()))
        if known:
            del known[next(iter(known))]
            self._count -= 1
        if not known:
            del self._clients[client]
