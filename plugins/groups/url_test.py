"""The member that answers fastest."""

from collections.abc import Sequence
from typing import Final

from tunproxy.plugin.api import FlowInfo, Group, Plan, Upstream


class UrlTest(Group):
    """Sends flows through the member with the least delay, that is well and can carry them.

    It stays with a member as long as no other is faster by more than tolerance, in ms. Before the first
    test, and where none has succeeded, the first member is as good as any. One that somebody chose takes all
    flows, as long as it is well.
    """

    takes_choice = True

    def __init__(self, name: str, members: Sequence[str], plan: Plan, tolerance: int) -> None:
        super().__init__(name, members, plan)
        self._tolerance: Final = tolerance
        self._current: Upstream | None = None

    def current(self) -> Upstream | None:
        likely = self.likely()
        return self.chosen_among(likely) or self._fastest(likely) or next(iter(likely), None)

    def pick(self, info: FlowInfo) -> Upstream | None:
        usable = self.usable(info)
        chosen = self.chosen_among(usable)
        if chosen is not None:
            return chosen
        fastest = self._fastest(usable)
        if fastest is None:
            return usable[0] if usable else None
        if self._current is None or self._current.carries(info):  # else it stays for the others
            self._current = fastest
        return fastest

    def _fastest(self, members: Sequence[Upstream]) -> Upstream | None:
        """Return the one to take of these members, None where no test has succeeded."""
        tested = [(delay, member) for member in members if (delay := self.delay_of(member)) is not None]
        if not tested:
            return None
        least, fastest = min(tested, key=lambda found: found[0])
        for delay, member in tested:
            if member is self._current and delay <= least + self._tolerance:
                return member
        return fastest
