"""Rules that are well-formed and still not what anybody wants: never met, covered by earlier ones, twice.

A rule is covered if every flow that meets it meets an earlier rule first. That is found for names below an
earlier suffix or with an earlier keyword in them, for prefixes within prefixes, numbers within numbers, and
for everything after MATCH. Rules whose target is PASS, and those that only observe, cover nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tunproxy.rules.build import ADDRESS_KINDS, ascii_name, params_of, range_of
from tunproxy.rules.compile import BUILT_IN, PASS, unknown_references
from tunproxy.rules.files import oddities
from tunproxy.rules.kinds import FOREIGN_PARAMS, kind_of
from tunproxy.rules.model import Condition, Position, Rule
from tunproxy.rules.ports import HIGHEST, parse_numbers
from tunproxy.rules.ranges import merged

NEVER = "never"
COVERED = "shadowed"
TWICE = "duplicate"
UNKNOWN = "unknown"
WIDTH = {4: 32, 6: 128}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a rule; what is one of "never", "shadowed", "duplicate", "unknown"."""

    position: Position
    what: str
    message: str

    def __str__(self) -> str:
        return f"{self.position}: {self.what}: {self.message}"


def lint(
    rules: Sequence[Rule],
    rule_sets: Collection[str],
    targets: Collection[str],
    sub_rules: Mapping[str, Sequence[Rule]] | None = None,
) -> list[Finding]:
    """Return what is to be said about rules, in their order."""
    lists = sub_rules or {}
    findings = [
        Finding(error.position, UNKNOWN, str(error).removeprefix(f"{error.position}: "))
        for error in unknown_references(rules, rule_sets, targets, lists)
    ]
    for part in (rules, *lists.values()):
        earlier = _Earlier()
        for rule in part:
            findings += [Finding(rule.position, NEVER, text) for text in oddities(rule.condition)]
            found = earlier.find(rule)
            if found is not None:
                findings.append(found)
            earlier.add(rule)
    return sorted(findings, key=lambda finding: (finding.position.file, finding.position.line))


@dataclass(slots=True)
class _Earlier:
    """The rules that were there before, by what they cover."""

    same: dict[object, Rule] = field(default_factory=dict)
    exact: dict[str, Rule] = field(default_factory=dict)
    suffix: dict[str, Rule] = field(default_factory=dict)
    keywords: list[tuple[str, Rule]] = field(default_factory=list)
    prefixes: dict[tuple[bool, bool, int, int, int], Rule] = field(default_factory=dict)
    numbers: dict[str, list[tuple[list[tuple[int, int]], Rule]]] = field(default_factory=dict)
    everything: Rule | None = None

    def add(self, rule: Rule) -> None:
        """Let later rules be compared with this one."""
        condition = rule.condition
        kind, payload = condition.kind, condition.payload
        if rule.observe:
            return
        self.same.setdefault(_meaning(condition), rule)
        if rule.target == PASS:
            return
        if kind == "MATCH":
            self.everything = self.everything or rule
        elif not payload or kind == "SUB-RULE":
            return  # covers nothing
        elif kind == "DOMAIN":
            self.exact.setdefault(ascii_name(payload), rule)
        elif kind == "DOMAIN-SUFFIX":
            self.suffix.setdefault(ascii_name(payload), rule)
        elif kind == "DOMAIN-KEYWORD":
            self.keywords.append((payload.lower(), rule))
        elif kind in ADDRESS_KINDS:
            version, first, last = range_of(payload)
            self.prefixes.setdefault((*params_of(condition), version, last - first, first), rule)
        elif kind in HIGHEST:
            self.numbers.setdefault(kind, []).append((merged(parse_numbers(payload)), rule))

    def find(self, rule: Rule) -> Finding | None:
        """Return what an earlier rule makes of this one."""
        twin = self.same.get(_meaning(rule.condition))
        if twin is not None and (twin.target != PASS or rule.target == PASS):
            where = f"line {twin.position.line}: {twin.text}"
            return Finding(rule.position, TWICE, f"the same condition is in {where}{_unless(twin, rule)}")
        cover = self.everything or self._cover(rule.condition)
        if cover is None:
            return None
        where = f"line {cover.position.line}: {cover.text}"
        return Finding(rule.position, COVERED, f"every such flow meets {where}{_unless(cover, rule)}")

    def _cover(self, condition: Condition) -> Rule | None:
        kind, payload = condition.kind, condition.payload
        if kind in ("DOMAIN", "DOMAIN-SUFFIX"):
            return self._cover_name(kind, ascii_name(payload))
        if kind == "DOMAIN-KEYWORD":
            return next((rule for word, rule in self.keywords if word in payload.lower()), None)
        if kind in ADDRESS_KINDS:
            return self._cover_prefix(condition)
        if kind in HIGHEST:
            wanted = merged(parse_numbers(payload))
            for ranges, rule in self.numbers.get(kind, []):
                if merged([*ranges, *wanted]) == ranges:
                    return rule
        return None

    def _cover_name(self, kind: str, name: str) -> Rule | None:
        if kind == "DOMAIN" and name in self.exact:
            return self.exact[name]
        labels = name.split(".")
        for at in range(len(labels)):
            cover = self.suffix.get(".".join(labels[at:]))
            if cover is not None:
                return cover
        return next((rule for word, rule in self.keywords if word in name), None)

    def _cover_prefix(self, condition: Condition) -> Rule | None:
        source, no_resolve = params_of(condition)
        version, first, last = range_of(condition.payload)
        size = last - first
        while size < 1 << WIDTH[version]:
            # An earlier rule with no-resolve does not see names, so it covers only one that does not either.
            for blind in {False, no_resolve}:
                cover = self.prefixes.get((source, blind, version, size, first & ~size))
                if cover is not None:
                    return cover
            size = size * 2 + 1
        return None


def _unless(earlier: Rule, rule: Rule) -> str:
    """Return the exception: flows of UDP go on where the earlier target has none."""
    if earlier.target == rule.target or earlier.target in BUILT_IN:
        return ""
    return f" (UDP apart, if {earlier.target!r} has none)"


def _meaning(condition: Condition) -> object:
    """Return something that is equal for conditions that ask the same."""
    kind, payload = condition.kind, condition.payload
    if kind_of(kind).nested:
        return kind, tuple(_meaning(child) for child in condition.children)
    params = frozenset(condition.params) - FOREIGN_PARAMS if kind_of(kind).about_addresses else frozenset()
    if kind in ADDRESS_KINDS:
        return "IP-CIDR", range_of(payload), params_of(condition)
    if kind in HIGHEST:
        return kind, tuple(merged(parse_numbers(payload)))
    if kind.startswith(("DOMAIN", "PROCESS", "NETWORK", "GEO")) and "REGEX" not in kind:
        payload = payload.lower()
    return kind, payload, params
