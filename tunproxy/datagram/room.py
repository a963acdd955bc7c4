"""Who may stay, and who gives way: the bounds of a table whose entries each hold a socket.

Nobody is starved by somebody else. A source, which is one client's address, has at most so many guests, and
beyond them makes room for itself. Where the house is full, the source with most guests gives way if it has
more than its share; only where none has, the one that was idle longest goes, whoever it belongs to.

    order    every guest, the one that was idle longest first, as far as is known: using a guest does not move
             it. Whoever looks for the first moves those behind that were used since (a second chance), which
             is cheaper than to move a guest with each datagram.
    expiry   one deadline for all of them. A guest that is gone leaves nothing behind in the timers, however
             many come and go.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.counters import Counters
from tunproxy.flow.ports import Descriptor, Poller, Timed

# our choice: how late a guest may be sent away, so that many dates do not mean many walks
_PATIENCE: Final[Micros] = 100_000


@mypyc_attr(allow_interpreted_subclasses=True)
class Guest(Descriptor):
    """Something that stays until it was idle for idle_limit; whoever uses it sets used_at."""

    def __init__(self, key: bytes, client: bytes, idle_limit: Micros, now: Micros) -> None:
        self.key: Final = key
        self.client: Final = client  # a packed address
        self.idle_limit: Micros = idle_limit
        self.used_at: Micros = now
        self.weight: i64 = 1  # descriptors that it holds
        self.ranked_at: Micros = now  # the room's own: used_at when it was put in order

    def give_way(self, now: Micros) -> None:
        """Finish what is begun and leave the room."""
        raise NotImplementedError


@final
@mypyc_attr(native_class=True)
class Room(Timed):
    """Holds guests that weigh `most` at most, `most_each` of one source; share is what all may keep.

    A newcomer's owner calls make_room, then enter; a guest that ends calls leave.
    """

    def __init__(self, poller: Poller, counters: Counters, most: i64, most_each: i64, share: i64) -> None:
        super().__init__()
        self._poller: Final = poller
        self._counters: Final = counters
        self._most: Final = most
        self._most_each: Final = most_each
        self._share: Final = share
        self._order: Final[dict[bytes, Guest]] = {}
        self._sources: Final[dict[bytes, dict[bytes, Guest]]] = {}
        self._greedy: Final[dict[bytes, dict[bytes, Guest]]] = {}  # sources with more than their share
        self._weight: i64 = 0
        self._look_at: Micros = -1

    def __len__(self) -> int:
        return len(self._order)

    def make_room(self, client: bytes, now: Micros, weight: i64 = 1) -> None:
        """Send somebody away if there is no room for one more guest of this client and weight."""
        own = self._sources.get(client)
        if own is not None and len(own) >= self._most_each:
            self._evict(own, now)
        while self._weight + weight > self._most and len(self._order) > 0:
            self.send_away(client, now)

    def send_away(self, client: bytes, now: Micros) -> None:
        """Send away whoever has to give way to this client, if there is anybody."""
        found = self._greedy.get(client)
        if found is None:
            for guests in self._greedy.values():
                if found is None or len(guests) > len(found):
                    found = guests
        if found is None:
            found = self._order
        if len(found) > 0:
            self._evict(found, now)

    def _evict(self, guests: dict[bytes, Guest], now: Micros) -> None:
        self._counters.associations_evicted += 1
        self._idlest(guests).give_way(now)

    def enter(self, guest: Guest) -> None:
        """Take in a guest whose key nobody else has; its idle_limit may grow later, and not shrink.

        Its weight stays as it is.
        """
        self._weight += guest.weight
        self._order[guest.key] = guest
        own = self._sources.get(guest.client)
        if own is None:
            own = {}
            self._sources[guest.client] = own
        own[guest.key] = guest
        if len(own) > self._share:
            self._greedy[guest.client] = own
        self._look(guest.used_at + guest.idle_limit)

    def leave(self, guest: Guest) -> None:
        """Forget a guest that is in."""
        self._weight -= guest.weight
        del self._order[guest.key]
        own = self._sources[guest.client]
        del own[guest.key]
        if len(own) <= self._share:
            self._greedy.pop(guest.client, None)
        if len(own) == 0:
            del self._sources[guest.client]

    def on_deadline(self, now: Micros) -> None:
        """Send away who was idle for too long."""
        if self._look_at < 0:
            return
        if now < self._look_at:  # left over from an earlier date
            self._poller.schedule(self, self._look_at)
            return
        self._look_at = -1
        earliest: Micros = -1
        for guest in list(self._order.values()):
            due = guest.used_at + guest.idle_limit
            if due <= now:
                guest.give_way(now)
            elif earliest < 0 or due < earliest:
                earliest = due
        if earliest >= 0:
            self._look(max(earliest, now + _PATIENCE))

    def _look(self, at: Micros) -> None:
        if self._look_at < 0 or at < self._look_at:
            self._look_at = at
            self._poller.schedule(self, at)

    def _idlest(self, guests: dict[bytes, Guest]) -> Guest:
        """Return the first in order, after those that were used have been moved behind."""
        while True:
            guest = guests[next(iter(guests))]
            if guest.used_at == guest.ranked_at:
                return guest
            guest.ranked_at = guest.used_at
            key = guest.key
            own = self._sources[guest.client]
            del self._order[key]
            self._order[key] = guest
            del own[key]
            own[key] = guest
