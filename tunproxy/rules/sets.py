"""Rule sets, ready to be asked: does a flow meet any entry of the set."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.rules.domains import DomainSet
from tunproxy.rules.expressions import Expression
from tunproxy.rules.facts import (
    INDETERMINATE,
    MATCHED,
    NEEDS_ADDRESS,
    NEEDS_NAME,
    NOT_MATCHED,
    SKIPPED,
    Facts,
    Matcher,
)
from tunproxy.rules.keywords import KeywordIndex
from tunproxy.rules.logic import needs_of_all
from tunproxy.rules.name_trie import NameTrie
from tunproxy.rules.numbers import NONE
from tunproxy.rules.prefixes import AddressSet, without_address


@final
@mypyc_attr(native_class=True)
class CompiledSet:
    """What a set holds, in the form each kind is asked fastest. Shared by all rules that name the set."""

    def __init__(
        self,
        domains: DomainSet,
        keywords: list[str],
        regexes: list[Expression],
        addresses: AddressSet,
        conditions: list[Matcher],
        tries: list[NameTrie],
    ) -> None:
        self.domains: Final = domains
        self.tries: Final = tries
        self.keywords: Final = KeywordIndex([(word.lower(), 0) for word in keywords])
        self.regexes: Final = regexes
        self.addresses: Final = addresses
        self.conditions: Final = conditions
        few = domains.empty and self.keywords.empty and len(regexes) == 0
        self.has_names: Final = not few or len(tries) > 0

    def entry(self, host: str) -> str:
        """Return an entry, other than a word or an expression, that fits host; "" if there is none."""
        found = self.domains.entry(host)
        for trie in self.tries:
            if found == "":
                found = trie.entry(host)
        return found

    def has_name(self, host: str) -> bool:
        """Return whether an entry for names fits host."""
        if self.domains.has(host) or self.keywords.next(host, 0) != NONE:
            return True
        for trie in self.tries:
            if trie.entry(host) != "":
                return True
        for regex in self.regexes:  # noqa: SIM110 - a generator costs more than the loop
            if regex.found(host):
                return True
        return False


@final
@mypyc_attr(native_class=True)
class InSet(Matcher):
    """RULE-SET and GEOSITE. With `src` the entries see source and target exchanged."""

    def __init__(self, members: CompiledSet, source: bool, no_resolve: bool, negated: bool = False) -> None:
        self.members: Final = members
        self.source: Final = source
        self.no_resolve: Final = no_resolve
        self.negated: Final = negated

    def test(self, facts: Facts) -> i64:
        before = facts.needs
        if self.source:
            facts.swap()
        facts.no_resolve = self.no_resolve  # a set has no sets in it
        answer = self.ask(facts)
        facts.no_resolve = False
        if self.source:
            facts.swap()
        if answer == MATCHED:
            facts.needs = before
            return NOT_MATCHED if self.negated else MATCHED
        if answer == INDETERMINATE or not self.negated:
            return answer
        return (
            MATCHED if facts.host != "" else NOT_MATCHED
        )  # a flow without a name is in no list, and in no `!list`

    def ask(self, facts: Facts) -> i64:
        """Return whether the flow is in the set. Names come first: they need no look-up."""
        members = self.members
        result = NOT_MATCHED
        if members.has_names:
            if facts.host != "":
                if members.has_name(facts.host):
                    return MATCHED
            elif not facts.host_asked:
                facts.needs |= NEEDS_NAME
                result = INDETERMINATE
        if not members.addresses.empty:
            if facts.target:
                if members.addresses.has(facts.target):
                    return MATCHED
            else:
                answer = without_address(facts, self.source, self.no_resolve)
                if answer == INDETERMINATE or result == NOT_MATCHED:
                    result = answer
        for condition in members.conditions:
            answer = condition.test(facts)
            if answer == MATCHED:
                return MATCHED
            if answer == INDETERMINATE or (answer == SKIPPED and result == NOT_MATCHED):
                result = answer
        return result

    def needs(self) -> i64:
        needs = needs_of_all(self.members.conditions)
        if self.members.has_names:
            needs |= NEEDS_NAME
        if not (self.members.addresses.empty or self.source or self.no_resolve):
            needs |= NEEDS_ADDRESS
        return needs
