"""Rules become what flows are matched with; what they refer to must exist.

Rules of all lists are numbered through: the main list's from 0, then those of each list for SUB-RULE. So a
number says in which list and where.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tunproxy.rules.build import ADDRESS_KINDS, Builder, ascii_name, params_of, range_of, set_name
from tunproxy.rules.domains import DomainIndex
from tunproxy.rules.facts import NEEDS_ADDRESS
from tunproxy.rules.keywords import KeywordIndex
from tunproxy.rules.logic import PassedOver
from tunproxy.rules.model import Condition, Rule, RuleError, RuleErrors, RuleSetContent
from tunproxy.rules.numbers import KeyIndex
from tunproxy.rules.parse import MAX_HINTS, moved, similar, target_field
from tunproxy.rules.policy import AddressIndex, CompiledRules, RuleList, SubRules
from tunproxy.rules.ports import parse_numbers
from tunproxy.rules.ranges import RangeIndex

PASS = "PASS"
BUILT_IN = ("DIRECT", "REJECT", "REJECT-DROP", PASS, "COMPATIBLE", "GLOBAL")

Lists = Mapping[str, Sequence[Rule]]


def compile_rules(
    rules: Sequence[Rule],
    rule_sets: Mapping[str, RuleSetContent],
    targets: Collection[str],
    sub_rules: Lists | None = None,
    *,
    builder: Builder | None = None,
) -> CompiledRules:
    """Return rules ready to be asked; raises RuleErrors with everything that refers to nothing.

    rule_sets has the sets under the names that ``needed_sets`` returns. targets are the names of upstreams
    and groups; the built-in ones are always known. builder, one for rule_sets, keeps the compiled sets for
    whoever explains the rules later.
    """
    lists = sub_rules or {}
    errors = unknown_references(rules, rule_sets, targets, lists)
    if errors:
        raise RuleErrors(errors)
    return _Compiler(builder or Builder(rule_sets), lists).compile(rules)


def passes(rule: Rule) -> bool:
    """Return whether a rule of the main list leads on to the next one, whoever meets it."""
    return rule.target == PASS and rule.condition.kind != "SUB-RULE"


def needed_sets(rules: Iterable[Rule], sub_rules: Lists | None = None) -> set[str]:
    """Return the names of all sets that rules ask for: `x`, `geosite:cn`, `geoip:cn`, `asn:13335`."""
    everything = [*rules, *(rule for rules_there in (sub_rules or {}).values() for rule in rules_there)]
    return {name for rule in everything for name in sets_in(rule.condition)}


def sets_in(condition: Condition) -> list[str]:
    """Return the names of the sets that a condition and those within it ask for."""
    names = [name for child in condition.children for name in sets_in(child)]
    own = set_name(condition)
    return [own, *names] if own else names


# what to write where nothing is called nearly like it
_REMEDIES: Final = {
    "target": " (it needs a table in [upstreams] or [groups], or write DIRECT or REJECT)",
    "rule set": " (it needs a table in [rule-sets])",
    "sub-rule": " (it needs a list in [sub-rules])",
}


def unknown_references(
    rules: Sequence[Rule], rule_sets: Collection[str], targets: Collection[str], lists: Lists
) -> list[RuleError]:
    """Return an error for every target, rule set and sub-rule that does not exist."""
    errors: list[RuleError] = []
    known = {*targets, *BUILT_IN}
    for rule in [*rules, *(rule for rules_there in lists.values() for rule in rules_there)]:
        if rule.condition.kind == "SUB-RULE":
            if rule.target not in lists:
                errors.append(_unknown("sub-rule", rule.target, lists, rule, errors))
        elif rule.target not in known:
            errors.append(_unknown("target", rule.target, known, rule, errors))
        for name in sets_in(rule.condition):
            if name not in rule_sets:
                errors.append(_unknown("rule set", name, rule_sets, rule, errors))
    for name in _in_circles(lists):
        rule = lists[name][0]
        errors.append(RuleError(rule.position, f"sub-rule {name!r} leads back to itself"))
    return errors


def _unknown(
    what: str, name: str, known: Collection[str], rule: Rule, before: Sequence[RuleError]
) -> RuleError:
    """Return the error, placed where name stands in the rule's text; before are those there are already."""
    at = rule.text.find(name) if what == "rule set" else target_field(rule.text).at
    hints = len(before) < MAX_HINTS
    meant = similar(name, known) if hints else ""
    remedy = _REMEDIES[what] if hints and not meant and ":" not in name else ""  # geosite:cn is no table
    return RuleError(moved(rule.position, max(at, 0)), f"unknown {what} {name!r}{remedy}", meant)


def _in_circles(lists: Lists) -> list[str]:
    """Return the lists from which SUB-RULEs lead back to themselves."""
    leads = {
        name: {rule.target for rule in rules if rule.condition.kind == "SUB-RULE" and rule.target in lists}
        for name, rules in lists.items()
    }
    circles = []
    for name in lists:
        reached: set[str] = set()
        ahead = [*leads[name]]
        while ahead:
            other = ahead.pop()
            if other not in reached:
                reached.add(other)
                ahead.extend(leads[other])
        if name in reached:
            circles.append(name)
    return circles


@dataclass(slots=True)
class _Entries:
    """The rules of one list that go into indexes."""

    domains: DomainIndex = field(default_factory=DomainIndex)
    networks: KeyIndex = field(default_factory=KeyIndex)
    keywords: list[tuple[str, int]] = field(default_factory=list)
    addresses: dict[tuple[bool, int], list[tuple[int, int, int]]] = field(default_factory=dict)
    target_ports: list[tuple[int, int, int]] = field(default_factory=list)
    source_ports: list[tuple[int, int, int]] = field(default_factory=list)
    named: list[int] = field(default_factory=list)
    resolving: list[int] = field(default_factory=list)

    def take(self, number: int, condition: Condition) -> bool:
        """Index a rule; return False if it is of a kind that has no index."""
        kind, payload = condition.kind, condition.payload
        if kind in ("DOMAIN", "DOMAIN-SUFFIX", "DOMAIN-KEYWORD"):
            self.named.append(number)
            if not payload:
                return True  # never met
            if kind == "DOMAIN-KEYWORD":
                self.keywords.append((payload.lower(), number))
            else:
                keys = self.domains.exact if kind == "DOMAIN" else self.domains.suffix
                keys.add(ascii_name(payload), number)
        elif kind in ADDRESS_KINDS:
            source, no_resolve = params_of(condition)
            version, first, last = range_of(payload)
            self.addresses.setdefault((source, version), []).append((first, last, number))
            if not source and not no_resolve:
                self.resolving.append(number)
        elif kind in ("DST-PORT", "SRC-PORT"):
            entries = self.target_ports if kind == "DST-PORT" else self.source_ports
            entries.extend((first, last, number) for first, last in parse_numbers(payload))
        elif kind == "NETWORK":
            self.networks.add(payload.lower(), number)
        else:
            return False
        return True

    def list(self, offset: int) -> RuleList:
        """Return the indexes as a list of rules, without those that have no index."""
        parts = {key: self.addresses.get(key, []) for key in ((False, 4), (False, 6), (True, 4), (True, 6))}
        return RuleList(
            offset,
            self.domains,
            KeywordIndex(self.keywords),
            AddressIndex(parts[False, 4], parts[False, 6]),
            AddressIndex(parts[True, 4], parts[True, 6]),
            RangeIndex(self.target_ports),
            RangeIndex(self.source_ports),
            self.networks,
            self.named,
            self.resolving,
        )


class _Compiler:
    """Compiles the main list and, as they are asked for, the others."""

    def __init__(self, builder: Builder, lists: Lists) -> None:
        self.builder = builder
        self.lists = lists
        self.offsets: dict[str, int] = {}
        self.compiled: dict[str, RuleList] = {}
        self.passing: frozenset[int] = frozenset()
        self.observed: frozenset[int] = frozenset()

    def compile(self, rules: Sequence[Rule]) -> CompiledRules:
        everything = [*rules]
        for name, rules_there in self.lists.items():
            self.offsets[name] = len(everything)
            everything.extend(rules_there)
        targets = [rule.target for rule in everything]
        self.passing = frozenset(number for number, target in enumerate(targets) if target == PASS)
        self.observed = frozenset(number for number, rule in enumerate(everything) if rule.observe)
        return CompiledRules(self._list(rules, 0, main=True), targets, self.observed)

    def _list(self, rules: Sequence[Rule], offset: int, *, main: bool = False) -> RuleList:
        """Compile one list. In the main one a rule whose target is PASS does no more than resolve names."""
        entries = _Entries()
        rest = []
        for number, rule in enumerate(rules):
            if (main and passes(rule)) or not entries.take(number, rule.condition):
                rest.append((number, rule))
        result = entries.list(offset)
        for number, rule in rest:
            matcher = self.builder.matcher(rule.condition)
            if rule.condition.kind == "SUB-RULE":
                matcher = SubRules(matcher, self._named(rule.target), self.passing, self.observed)
            elif main and passes(rule):
                if not matcher.needs() & NEEDS_ADDRESS:
                    continue
                matcher = PassedOver(matcher)
            result.add_other(number, matcher)
        return result

    def _named(self, name: str) -> RuleList:
        """Return the list for SUB-RULE of that name."""
        if name not in self.compiled:
            self.compiled[name] = self._list(self.lists[name], self.offsets[name])
        return self.compiled[name]
