"""What is known of an upstream: which flows it can carry.

    declared    by its kind (an HTTP proxy carries no UDP) or by the user: stays
    learned     from what it answered (UDP ASSOCIATE: "I do not know the command"): forgotten after a while,
                since proxies change, and are configured anew

What is not known is unknown, and tried.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tunproxy.flow.ports import Abilities
from tunproxy.flow.verdict import FlowInfo

# the abilities
TCP: Final = "tcp"  # the first three as FlowInfo.protocol has them
UDP: Final = "udp"
ICMP: Final = "icmp"
IPV6: Final = "ipv6"  # of the target
NAMES: Final = "names"  # resolves the target's name by itself
ABILITIES: Final = (TCP, UDP, ICMP, IPV6, NAMES)

# our choice: longer than a proxy's restart, short enough that what was repaired is used again the same day
LASTS: Final = 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Fact:
    """What is known of one ability: whether it is there, how we know, since when and until when.

    at and until are in seconds of the monotonic clock; until is infinite for what was declared.
    """

    has: bool
    how: str  # "declared", "probed", "seen"
    at: float
    until: float


class Knowledge(Abilities):
    """The abilities of one upstream. clock returns seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock: Final = clock
        self._declared: Final[dict[str, Fact]] = {}
        self._learned: Final[dict[str, Fact]] = {}
        self.is_blank = True  # nothing was ever said or learned

    def declare(self, ability: str, has: bool) -> None:
        """Note what does not change, in place of all that was known."""
        self.is_blank = False
        self._declared[ability] = Fact(has, "declared", self._clock(), float("inf"))
        self._learned.pop(ability, None)
        self._sum_up()

    def learn(self, ability: str, has: bool, how: str = "seen", lasts: float = LASTS) -> None:
        """Note for some seconds what the upstream showed.

        Of what was declared, only an ability that turned out to be missing is noted; after a while the
        declaration holds again.
        """
        declared = self._declared.get(ability)
        if declared is not None and not declared.has:
            return
        if declared is not None and has:
            self._learned.pop(ability, None)
            self._sum_up()
            return
        now = self._clock()
        self.is_blank = False
        self._learned[ability] = Fact(has, how, now, now + lasts)
        self._sum_up()

    def fact(self, ability: str) -> Fact | None:
        """Return what is known of an ability, None where nothing is."""
        fact = self._learned.get(ability)
        if fact is not None:
            if self._clock() < fact.until:
                return fact
            del self._learned[ability]
            self._sum_up()
        return self._declared.get(ability)

    def has(self, ability: str) -> bool | None:
        """Tell whether the ability is there; None where it is not known."""
        fact = self.fact(ability)
        return None if fact is None else fact.has

    def carries(self, info: FlowInfo) -> bool:
        """Tell whether nothing is known that keeps such a flow from going this way.

        A target whose name is known, and which the upstream resolves by itself, may be reached by another
        family than its own.
        """
        if self.has(info.protocol) is False:
            return False
        if len(info.target) == 16 and self.has(IPV6) is False:
            return bool(info.host) and self.has(NAMES) is True
        return True

    def _sum_up(self) -> None:
        """Note whether anything that is known is about TCP flows; also what has been forgotten meanwhile."""
        self.any_tcp = all(
            fact.has
            for known in (self._declared, self._learned)
            for ability, fact in known.items()
            if ability in (TCP, IPV6)
        )

    def report(self) -> dict[str, Fact]:
        """Return all that is known now, by ability."""
        found = {ability: self.fact(ability) for ability in ABILITIES}
        return {ability: fact for ability, fact in found.items() if fact is not None}
