"""Conditions put together, and contents of sets as conditions."""

import re

from tunproxy.rules.model import Condition, RuleSetContent
from tunproxy.rulesets.items import prefixes_of
from tunproxy.rulesets.unfold import unfolded


def rule_text(condition: Condition) -> str:
    """Return the condition as a rule line writes it, without a target."""
    return ",".join((condition.kind, condition.payload, *condition.params))


def all_of(children: list[Condition]) -> Condition:
    """Return what is met when every one of children, at least one, is."""
    return children[0] if len(children) == 1 else _joined("AND", children)


def any_of(children: list[Condition]) -> Condition:
    """Return what is met when one of children, at least one, is."""
    return children[0] if len(children) == 1 else _joined("OR", children)


def negated(condition: Condition) -> Condition:
    """Return what is met when condition is not."""
    if condition.kind == "NOT":
        return condition.children[0]
    return _joined("NOT", [condition])


def _joined(kind: str, children: list[Condition]) -> Condition:
    payload = ",".join(f"({rule_text(child)})" for child in children)
    return Condition(kind, f"({payload})", (), tuple(children))


def below_condition(name: str) -> Condition:
    """Return what every name below name meets, but not name itself."""
    return all_of([Condition("DOMAIN-SUFFIX", name), negated(Condition("DOMAIN", name))])


def pattern_condition(pattern: str) -> Condition:
    """Return what a pattern with `*` labels (rule sets, behavior domain) is as a condition."""
    lead = ""
    if pattern.startswith("+."):
        lead, pattern = r"(?:.*\.)?", pattern[2:]
    elif pattern.startswith("."):
        lead, pattern = r".*\.", pattern[1:]
    labels = [r"[^.]+" if label == "*" else re.escape(label) for label in pattern.split(".")]
    return Condition("DOMAIN-REGEX", "^" + lead + r"\.".join(labels) + "$")


def range_conditions(found: tuple[int, int, int], kind: str = "IP-CIDR") -> list[Condition]:
    """Return conditions, one a prefix, that together are a range of addresses."""
    params = () if kind.startswith("SRC") else ("no-resolve",)
    return [Condition(kind, prefix, params) for prefix in prefixes_of(found)]


def entries(content: RuleSetContent) -> list[Condition]:
    """Return all that content holds as conditions, of which a flow has to meet one."""
    content = unfolded(content)
    found = [Condition("DOMAIN", name) for name in content.exact]
    found += [Condition("DOMAIN-SUFFIX", name) for name in content.suffix]
    found += [below_condition(name) for name in content.below]
    found += [pattern_condition(pattern) for pattern in content.wildcard]
    found += [Condition("DOMAIN-KEYWORD", word) for word in content.keyword]
    found += [Condition("DOMAIN-REGEX", expression) for expression in content.regex]
    for addresses in content.ranges:
        found += range_conditions(addresses)
    return found + content.conditions


def extend(content: RuleSetContent, more: RuleSetContent) -> None:
    """Add all that more holds to content, but for the notes on what was skipped."""
    content.exact += more.exact
    content.suffix += more.suffix
    content.below += more.below
    content.wildcard += more.wildcard
    content.keyword += more.keyword
    content.regex += more.regex
    content.ranges += more.ranges
    content.conditions += more.conditions
    content.tries += more.tries
