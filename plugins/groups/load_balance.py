"""All members at once: each flow goes to one of them."""

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from tunproxy.plugin.api import FlowInfo, Group, Plan, Upstream

from .hashing import hash_of, highest
from .targets import key_of, suffixes

# our choices, Clash's as well
STICKS_FOR: Final = 600.0  # seconds
MAX_SESSIONS: Final = 4096  # the one that was begun first is forgotten


class LoadBalance(Group):
    """Spreads flows over the members that are well and can carry them.

    consistent-hashing  flows to one target go to one member, whoever sends them
    round-robin         one member after the other
    sticky-sessions     flows of one client to one target stay with the member that the first of them got by
                        chance, for sticks_for seconds, as long as it is well

    A target is a registrable domain where the name is known, else an address. clock is in seconds.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[str],
        plan: Plan,
        strategy: str = "consistent-hashing",
        *,
        sticks_for: float = STICKS_FOR,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        super().__init__(name, members, plan)
        self._sticks_for: Final = sticks_for
        self._clock: Final = clock
        self._chance: Final = chance or random.Random()
        self._turn = 0
        self._seeds: Final[dict[str, int]] = {}
        self._sessions: Final[OrderedDict[tuple[bytes, bytes], tuple[Upstream, float]]] = OrderedDict()
        self._pick: Final = {
            "consistent-hashing": self._by_hash,
            "round-robin": self._by_turn,
            "sticky-sessions": self._by_session,
        }[strategy]

    def check(self) -> None:
        if self._pick != self._by_turn:
            suffixes()  # read now, and not when the first flow comes
        self._seeds.update((member.name, hash_of(member.name.encode())) for member in self.members)

    def pick(self, info: FlowInfo) -> Upstream | None:
        usable = self.usable(info)
        return self._pick(info, usable) if len(usable) > 1 else next(iter(usable), None)

    def _by_hash(self, info: FlowInfo, usable: Sequence[Upstream]) -> Upstream | None:
        return highest(hash_of(key_of(info)), usable, self._seeds)

    def _by_turn(self, info: FlowInfo, usable: Sequence[Upstream]) -> Upstream | None:
        self._turn += 1
        return usable[(self._turn - 1) % len(usable)]

    def _by_session(self, info: FlowInfo, usable: Sequence[Upstream]) -> Upstream | None:
        session = (info.client, key_of(info))
        now = self._clock()
        member, until = self._sessions.get(session, (None, 0.0))
        if member is not None and now < until and member in usable:
            return member
        member = self._chance.choice(usable)
        self._sessions.pop(session, None)
        if len(self._sessions) >= MAX_SESSIONS:
            self._sessions.popitem(last=False)
        self._sessions[session] = (member, now + self._sticks_for)
        return member
