"""The rules as they stand, how often each has decided, and which are switched off."""

import time
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy import clock
from tunproxy.control.helm.wishes import Wishes
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.letters import About, aside
from tunproxy.control.policy import Policy
from tunproxy.decide.hits import RuleHits
from tunproxy.errors import ConfigError
from tunproxy.rules.build import set_name
from tunproxy.rules.model import Condition, Rule, RuleSetContent

LISTS: Final = ("GEOSITE", "GEOIP", "SRC-GEOIP")  # kinds whose sets have a size that people know

Document = dict[str, Any]


class RuleList:
    """Tells of the rules of the policy in force. What is switched off stays so until the next reload."""

    def __init__(self, keeper: PolicyKeeper, wishes: Wishes | None = None) -> None:
        """wishes has what was switched off in the place of the worker that was here before."""
        self._keeper: Final = keeper
        self._wishes: Final = wishes or Wishes()

    def adopt(self, policy: Policy) -> None:
        """Switch off what was, where it is the policy that it was switched off in."""
        if policy.ruling is not None and policy.generation == self._wishes.off_of:
            for number in self._wishes.off:
                policy.ruling.hits.switch(number, True)

    async def describe(self, about: About) -> Document:
        """Return the hits, and the rules and sets unless about's generation says that they are known.

        A rule is [condition, target, size], a condition [kind, payload, parameters, conditions within], a hit
        [number, count, seconds since 1970], -1 being the default. size is of a set's entries, else -1.
        observed is of rules that only count: [number, flows that it would have decided, octets].
        """
        policy = self._keeper.policy
        document: Document = {"generation": policy.generation, "hits": [], "off": []}
        if policy.ruling is not None:
            document["hits"] = _hits(policy.ruling.hits, len(policy.parts.rules))
            if policy.ruling.hits.has_observed:
                document["observed"] = _observed(policy)
            document["off"] = policy.ruling.hits.switched_off()
        if about.get("generation") != policy.generation:
            document |= await aside(_texts, policy)  # there may be many
        return document

    def switch(self, about: About) -> Document:
        """Switch rules off and on, by number; nothing happens, but ConfigError, where one is none."""
        switches = about.get("switches")
        policy = self._keeper.policy
        count = len(policy.parts.rules)
        if not isinstance(switches, dict) or policy.ruling is None:
            raise ConfigError("this switches no rules")
        wanted: dict[int, bool] = {}
        for written, is_off in switches.items():
            text = str(written)
            if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) < count):
                raise ConfigError(f"there is no rule {text}")
            if not isinstance(is_off, bool):
                raise ConfigError(f"rule {text} is switched off or not")
            wanted[int(text)] = is_off
        for number, is_off in wanted.items():
            policy.ruling.hits.switch(number, is_off)
        return {"off": policy.ruling.hits.switched_off(), "generation": policy.generation}


def _hits(hits: RuleHits, count: int) -> list[list[float]]:
    """Return the hits of the main list, which has so many rules: one either decides or only counts."""
    now, wall = int(clock.now()), time.time()
    counts = hits.counts | {place: seen for place, seen in hits.seen.items() if place < count}
    return [[place, count, wall - (now - hits.at[place]) / 1e6] for place, count in counts.items()]


def _observed(policy: Policy) -> list[list[int]]:
    hits = policy.ruling.hits if policy.ruling is not None else RuleHits()
    rules = [*policy.parts.rules, *(rule for each in policy.parts.sub_rules.values() for rule in each)]
    return [
        [number, hits.seen.get(number, 0), hits.octets.get(number, 0)]
        for number, rule in enumerate(rules)
        if rule.observe
    ]


def observed_rules(policy: Policy, most: int) -> list[Document]:
    """Return the first rules that only count, so many at most, in words and numbers, for ``status``."""
    rules = [*policy.parts.rules, *(rule for each in policy.parts.sub_rules.values() for rule in each)]
    found = []
    for number, flows, octets in _observed(policy)[:most]:
        rule = rules[number]
        place = f"{rule.position.file}:{rule.position.line}" if rule.position.file else ""
        found.append({"rule": rule.text, "place": place, "flows": flows, "octets": octets})
    return found


def _texts(policy: Policy) -> Document:
    parts = policy.parts
    return {
        "rules": [_rule(rule, parts.rule_sets) for rule in parts.rules],
        "default": parts.default,
        "sets": {name: size_of(content) for name, content in parts.rule_sets.items()},
    }


def _rule(rule: Rule, sets: Any) -> list[Any]:
    size = -1
    if rule.condition.kind in LISTS:
        content = sets.get(set_name(rule.condition))
        size = size_of(content) if content is not None else 0
    return [condition_of(rule.condition), rule.target, size]


def condition_of(condition: Condition) -> list[Any]:
    """Return a condition as a document has it: [kind, payload, parameters, conditions within]."""
    return [
        condition.kind,
        condition.payload,
        list(condition.params),
        [condition_of(child) for child in condition.children],
    ]


def size_of(content: RuleSetContent) -> int:
    """Return how many entries a rule set has."""
    names = [content.exact, content.suffix, content.below, content.wildcard, content.keyword, content.regex]
    packed = (int.from_bytes(trie.leaves, "little").bit_count() for trie in content.tries)
    return sum(map(len, names)) + len(content.ranges) + len(content.conditions) + sum(packed)
