"""How often each rule has decided a flow: one addition for a flow, when it is decided."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy import clock


@final
@mypyc_attr(native_class=True)
class RuleHits:
    """Counts by the number of a rule in the main list, -1 for the default; who never decided is not there.

    at is when each decided last, on the packet path's clock. Rules that are switched off are passed over by
    flows that begin; so are those that only count. Of the latter, seen has the flows that each would have
    decided, by its number among all rules of all lists, and octets what those that are over have carried.
    """

    def __init__(self, observed: frozenset[int] = frozenset()) -> None:
        """Observed are the rules, numbered among all, that only count."""
        self.counts: Final[dict[int, int]] = {}
        self.at: Final[dict[int, int]] = {}
        self.seen: Final[dict[int, int]] = {}
        self.octets: Final[dict[int, int]] = {}
        self.has_observed: Final = len(observed) > 0
        self.has_off = False
        self.passes_some = self.has_observed  # there may be rules to pass over
        self._observed: Final = observed
        self._off: Final[set[int]] = set()

    def note(self, rule: i64) -> None:
        """Count a flow that a rule, or for -1 and less the default, has decided."""
        place = int(rule) if rule >= 0 else -1
        self.counts[place] = self.counts.get(place, 0) + 1
        self.at[place] = int(clock.now())

    def is_observed(self, rule: i64) -> bool:
        """Tell whether a rule only counts."""
        return int(rule) in self._observed

    def note_seen(self, rule: int) -> None:
        """Count a flow that a rule would have decided that only counts."""
        self.seen[rule] = self.seen.get(rule, 0) + 1
        self.at[rule] = int(clock.now())

    def note_octets(self, rules: list[int], octets: i64) -> None:
        """Add what a flow has carried, which is over, to all of these rules."""
        for rule in rules:
            self.octets[rule] = self.octets.get(rule, 0) + int(octets)

    def is_off(self, rule: i64) -> bool:
        """Tell whether a rule is switched off."""
        return int(rule) in self._off

    def switch(self, rule: int, is_off: bool) -> None:
        """Switch a rule off, or on again. The default cannot be."""
        if is_off:
            self._off.add(rule)
        else:
            self._off.discard(rule)
        self.has_off = len(self._off) > 0
        self.passes_some = self.has_off or self.has_observed

    def switch_as(self, other: "RuleHits") -> None:
        """Switch off what the other has switched off, and nothing else."""
        for rule in sorted(self._off.symmetric_difference(other._off)):
            self.switch(rule, rule in other._off)

    def switched_off(self) -> list[int]:
        """Return the rules that are off, in their order."""
        return sorted(self._off)
