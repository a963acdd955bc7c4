"""Which rule a flow meets first: indexes for the rules of which there are thousands, a walk for the others.

A list of rules is taken apart by kind. Names, keywords, prefixes, ports and networks go into indexes that
yield the lowest rule a flow meets; all other rules stay in a list in their order. A flow asks the indexes,
then walks the list, but only up to the best rule found. So 10,000 rules on names cost as much as one, and
nobody looks up a process for a rule that comes after the one that decides.

A rule that cannot be decided for want of a fact stops the search: no later rule can be right before it is.
The next search begins there. So a rule with `no-resolve` is passed over by a flow that had only a name when
it was that rule's turn, even if a later rule has the name resolved.
"""

from bisect import bisect_left
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.rules.domains import DomainIndex
from tunproxy.rules.facts import (
    INDETERMINATE,
    MATCHED,
    NEEDS_ADDRESS,
    NEEDS_NAME,
    NOT_MATCHED,
    Facts,
    Matcher,
)
from tunproxy.rules.keywords import KeywordIndex
from tunproxy.rules.logic import needs_of_all
from tunproxy.rules.numbers import NONE, KeyIndex, Numbers
from tunproxy.rules.prefixes import number, number_v4, plain
from tunproxy.rules.ranges import RangeIndex

# What match returns besides a rule's number.
NO_MATCH: Final[i64] = -1
UNDECIDED: Final[i64] = -2  # Facts.needs says what to find out before asking again


@final
@mypyc_attr(native_class=True)
class AddressIndex:
    """The lowest rule whose prefix holds an address of either version."""

    def __init__(self, v4: list[tuple[int, int, int]], v6: list[tuple[int, int, int]]) -> None:
        self.v4: Final = RangeIndex(v4)
        self.v6: Final = RangeIndex(v6)
        self.empty: Final = not v4 and not v6

    def next(self, address: bytes, start: i64) -> i64:
        """Return that rule's number, not below start, or NONE."""
        if self.empty:
            return NONE
        bare = plain(address)
        if len(bare) == 4:
            return self.v4.next(number_v4(bare), start)
        return self.v6.next_big(number(bare), start)


@final
@mypyc_attr(native_class=True)
class RuleList:
    """Rules that are asked in order: the main list, or one under a name for SUB-RULE."""

    def __init__(
        self,
        offset: i64,
        domains: DomainIndex,
        keywords: KeywordIndex,
        targets: AddressIndex,
        sources: AddressIndex,
        target_ports: RangeIndex,
        source_ports: RangeIndex,
        networks: KeyIndex,
        named: list[int],
        resolving: list[int],
    ) -> None:
        """offset is the number of the first rule among all rules of all lists.

        named are the indexed rules that need a host name, resolving those that need the target's address
        even if a name has to be resolved for it.
        """
        self.offset: i64 = offset
        self.domains: Final = domains
        self.keywords: Final = keywords
        self.targets: Final = targets
        self.sources: Final = sources
        self.target_ports: Final = target_ports
        self.source_ports: Final = source_ports
        self.networks: Final = networks
        # Which indexes have something in them: an empty one costs a flow memory that is not in the cache.
        self._has_networks: Final = len(networks.first) > 0
        self._has_sources: Final = not sources.empty
        self._has_target_ports: Final = not target_ports.empty
        self._has_source_ports: Final = not source_ports.empty
        self.named: Final = Numbers()
        self.named.all = named
        self.resolving: Final = Numbers()
        self.resolving.all = resolving
        self.others: list[Matcher] = []
        self.other_numbers: list[int] = []

    def add_other(self, number: int, matcher: Matcher) -> None:
        """Append a rule that no index holds; numbers come in order."""
        self.other_numbers.append(number)
        self.others.append(matcher)

    def needs(self) -> i64:
        """Return what any rule may have to know."""
        needs = needs_of_all(self.others)
        if self.named.all:
            needs |= NEEDS_NAME
        if self.resolving.all:
            needs |= NEEDS_ADDRESS
        return needs

    def first(self, facts: Facts, start: i64) -> i64:
        """Return the first rule at or after start that facts meet, counted in this list; or a code."""
        resume = facts.resume
        if resume is not None:
            left: i64 = resume.pop(int(self.offset), -1)
            if left > start:
                start = left
        best = self._indexed(facts, start)
        limit = best
        needs: i64 = 0
        if facts.host == "":
            if not facts.host_asked:
                number = self.named.next(start)
                if number < limit:
                    limit = number
                    needs = NEEDS_NAME
        elif not facts.target and not facts.address_asked:
            number = self.resolving.next(start)
            if number < limit:
                limit = number
                needs = NEEDS_ADDRESS

        at: i64 = 0 if start <= 0 else bisect_left(self.other_numbers, int(start))
        count: i64 = len(self.others)
        while at < count:
            number = self.other_numbers[at]
            if number >= limit:
                break
            answer = self.others[at].test(facts)
            if answer == MATCHED:
                return number
            if answer == INDETERMINATE:
                facts.leave(self.offset, number)
                return UNDECIDED
            at += 1
        if needs != 0:
            facts.needs |= needs
            facts.leave(self.offset, limit)
            return UNDECIDED
        return best if best != NONE else NO_MATCH

    def _indexed(self, facts: Facts, start: i64) -> i64:
        """Return the lowest rule at or after start that an index finds, or NONE."""
        best = self.networks.next(facts.network, start) if self._has_networks else NONE
        if facts.host != "":
            found = self.domains.next(facts.host, start)
            if found < best:
                best = found
            found = self.keywords.next(facts.host, start)
            if found < best:
                best = found
        if facts.target:
            found = self.targets.next(facts.target, start)
            if found < best:
                best = found
        if self._has_sources:
            found = self.sources.next(facts.source, start)
            if found < best:
                best = found
        if self._has_target_ports:
            found = self.target_ports.next(facts.target_port, start)
            if found < best:
                best = found
        if self._has_source_ports:
            found = self.source_ports.next(facts.source_port, start)
            if found < best:
                best = found
        return best


@final
@mypyc_attr(native_class=True)
class SubRules(Matcher):
    """SUB-RULE: where its condition holds, the rules of another list, and if none is met, the next rule here.

    The rule that decides is noted in Facts.decided. One whose target is PASS leaves the other list.
    """

    def __init__(
        self, condition: Matcher, rules: RuleList, passing: frozenset[int], observed: frozenset[int]
    ) -> None:
        """passing are the rules, numbered among all, whose target is PASS; observed those that only count."""
        self.condition: Final = condition
        self.rules: Final = rules
        self.passing: Final = passing
        self.observed: Final = observed

    def test(self, facts: Facts) -> i64:
        answer = self.condition.test(facts)
        if answer != MATCHED:
            return answer
        found = self.rules.first(facts, 0)
        while found >= 0 and self._only_counts(facts, self.rules.offset + found):
            found = self.rules.first(facts, found + 1)
        if found == UNDECIDED:
            return INDETERMINATE
        if found == NO_MATCH:
            return NOT_MATCHED
        if facts.decided < 0:
            facts.decided = self.rules.offset + found
        if int(facts.decided) in self.passing:
            facts.decided = -1
            return NOT_MATCHED
        return MATCHED

    def needs(self) -> i64:
        return self.condition.needs() | self.rules.needs()

    def _only_counts(self, facts: Facts, number: i64) -> bool:
        """Tell whether a rule that is met does not decide; note it then."""
        if len(self.observed) == 0 or int(number) not in self.observed:
            return False
        facts.observe(number)
        facts.decided = -1  # by a list that this rule leads to
        return True


@final
@mypyc_attr(native_class=True)
class CompiledRules:
    """All rules of a policy, ready to be asked. Never changes, so that open flows may keep theirs."""

    def __init__(self, main: RuleList, targets: list[str], observed: frozenset[int] = frozenset()) -> None:
        """targets are those of all rules, the main list first; observed are the rules that only count."""
        self.main: Final = main
        self.targets: Final = targets
        self.observed: Final = observed

    def match(self, facts: Facts, start: i64 = 0) -> i64:
        """Return the first rule of the main list, at or after start, that facts meet, or a code.

        NO_MATCH: none is met. UNDECIDED: a rule needs to know more, see facts.needs; find it out, or say that
        it cannot be found out, and ask again with the same start. Rules whose target is PASS are never
        returned. Who cannot use a rule's target, or meets one that is observed, goes on with start one after
        it, or asks ``deciding``.
        """
        facts.needs = 0
        facts.decided = -1
        found = self.main.first(facts, start)
        if found >= 0 and facts.decided < 0:
            facts.decided = found
        return found

    def deciding(self, facts: Facts, start: i64 = 0) -> i64:
        """Return the first rule, at or after start, that facts meet and that decides, or a code.

        Those that were only observed on the way are in facts.
        """
        found = self.match(facts, start)
        while found >= 0 and int(found) in self.observed:
            facts.observe(found)
            found = self.match(facts, found + 1)
        return found

    def target(self, facts: Facts) -> str:
        """Return the target of the rule that match found for facts; within a SUB-RULE, of the rule there."""
        return self.targets[facts.decided]

    def what_is_needed(self) -> i64:
        """Return what any rule may have to know, as bits of Facts.needs; nothing else is ever asked for."""
        return self.main.needs()
