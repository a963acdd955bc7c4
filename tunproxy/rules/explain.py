"""Why a flow goes where it goes: every rule asked one by one, and what each answered and why.

This uses no index. It is slow, says more, and is the second opinion that ``CompiledRules`` is tested against.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tunproxy.rules.build import Builder, params_of, set_name
from tunproxy.rules.compile import PASS, passes
from tunproxy.rules.facts import (
    INDETERMINATE,
    MATCHED,
    NEEDS_ADDRESS,
    NOT_MATCHED,
    RESULT_NAMES,
    Facts,
    need_names,
)
from tunproxy.rules.kinds import KINDS, kind_of
from tunproxy.rules.logic import PassedOver
from tunproxy.rules.model import Condition, Position, Rule, RuleSetContent
from tunproxy.rules.policy import NO_MATCH, UNDECIDED

OBSERVED = "observed"  # what a rule answers that is met and only counts
MOMENT_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Record:
    """One rule's answer; within is the name of the list for SUB-RULE, "" for the main one."""

    number: int
    within: str
    text: str
    target: str
    position: Position
    result: str  # matched, not_matched, skipped, indeterminate, observed
    why: str


@dataclass(slots=True)
class Explanation:
    """All answers up to the one that decides; number as ``CompiledRules.match`` returns it."""

    number: int = int(NO_MATCH)
    target: str = ""
    needs: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)


def explain(
    rules: Sequence[Rule],
    rule_sets: Mapping[str, RuleSetContent],
    facts: Facts,
    *,
    sub_rules: Mapping[str, Sequence[Rule]] | None = None,
    start: int = 0,
    beyond: bool = False,
    builder: Builder | None = None,
) -> Explanation:
    """Ask rules, which ``compile_rules`` has taken, from start on; beyond: also those after the decision.

    builder is the one that they were compiled with, so that no rule set has to be compiled once more.
    """
    facts.needs = 0
    asker = _Asker(builder or Builder(rule_sets), sub_rules or {}, facts, len(rules))
    result = asker.result
    for number in range(start, len(rules)):
        answer, target = asker.ask(rules[number], number, "", 0)
        if answer == NOT_MATCHED or result.number != NO_MATCH:
            continue
        result.number = number if answer == MATCHED else int(UNDECIDED)
        result.target = target
        result.needs = need_names(facts.needs) if answer == INDETERMINATE else []
        if not beyond:
            break
    return result


class _Asker:
    """Asks rules about one flow and keeps the records."""

    def __init__(
        self, builder: Builder, lists: Mapping[str, Sequence[Rule]], facts: Facts, offset: int
    ) -> None:
        """offset is the number of rules in the main list, after which those of lists are counted."""
        self.builder = builder
        self.lists = lists
        self.facts = facts
        self.result = Explanation()
        self.offsets: dict[str, int] = {}
        for name, rules in lists.items():
            self.offsets[name] = offset
            offset += len(rules)

    def ask(self, rule: Rule, number: int, within: str, offset: int) -> tuple[int, str]:
        """Return MATCHED, NOT_MATCHED or INDETERMINATE for a rule as a whole, and the target it leads to.

        offset is the number of the first rule of the list.
        """
        self.facts.needs = 0
        answer, why = self._then(rule.condition, number, offset)
        if answer == MATCHED and rule.condition.kind == "SUB-RULE":
            self._keep(rule, number, within, answer, f"{why}: on to {rule.target!r}")
            answer, target = self._within(rule.target)
            if answer != MATCHED or not rule.observe:
                return answer, target
            self._observe(rule, number, within, f"its rules: would have gone to {target}")
            return int(NOT_MATCHED), ""
        if passes(rule) and not within:
            self._keep(rule, number, within, answer, f"{why}: on to the next rule")
            return self._passed(rule), ""
        if answer == MATCHED and rule.observe:
            self._observe(rule, number, within, f"{why}: would have gone to {rule.target}")
            return int(NOT_MATCHED), ""
        self._keep(rule, number, within, answer, why)
        return (answer, rule.target) if answer in (MATCHED, INDETERMINATE) else (int(NOT_MATCHED), "")

    def _passed(self, rule: Rule) -> int:
        """Return INDETERMINATE where a rule with PASS has the name resolved, as ``compile`` has it."""
        matcher = self.builder.matcher(rule.condition)
        self.facts.needs = 0
        return int(PassedOver(matcher).test(self.facts) if matcher.needs() & NEEDS_ADDRESS else NOT_MATCHED)

    def _keep(self, rule: Rule, number: int, within: str, answer: int, why: str) -> None:
        name = RESULT_NAMES[answer]
        self.result.records.append(Record(number, within, rule.text, rule.target, rule.position, name, why))

    def _observe(self, rule: Rule, number: int, within: str, why: str) -> None:
        """Keep the record of a rule that is met and only counts."""
        self.result.records.append(
            Record(number, within, rule.text, rule.target, rule.position, OBSERVED, why)
        )

    def _within(self, name: str) -> tuple[int, str]:
        """Ask the list of that name; PASS in it leaves it."""
        for number, rule in enumerate(self.lists[name]):
            answer, target = self.ask(rule, number, name, self.offsets[name])
            if answer == NOT_MATCHED:
                continue
            if answer == MATCHED and target == PASS:
                return int(NOT_MATCHED), ""
            return answer, target
        return int(NOT_MATCHED), ""

    def _then(self, condition: Condition, number: int, offset: int) -> tuple[int, str]:
        """Return what a condition answered when it was its turn: perhaps the name was not yet resolved."""
        resolved_for = self.facts.resolved_for
        if resolved_for is None or number >= resolved_for.get(offset, 0):
            return self.condition(condition)
        target, self.facts.target = self.facts.target, b""
        try:
            return self.condition(condition)
        finally:
            self.facts.target = target

    def condition(self, condition: Condition) -> tuple[int, str]:
        """Return what a condition answers, and why."""
        if not kind_of(condition.kind).nested:
            answer = int(self.builder.matcher(condition).test(self.facts))
            return answer, self._why(condition, answer)
        before = self.facts.needs
        answers = [self.condition(child) for child in condition.children]
        results = [answer for answer, _ in answers]
        parts = zip(condition.children, answers, strict=True)
        whys = [f"{child.kind} {RESULT_NAMES[answer]} ({why})" for child, (answer, why) in parts]
        combined = _combined(condition.kind, results)
        if combined != INDETERMINATE:
            self.facts.needs = before
        return combined, "; ".join(whys)

    def _why(self, condition: Condition, answer: int) -> str:
        """Return what the flow has where the condition looked."""
        if answer == INDETERMINATE:
            return "unknown yet: " + ", ".join(need_names(self.facts.needs))
        kind = condition.kind
        if kind == "MATCH":
            return "always"
        if kind not in KINDS:
            return f"{name_of(self.facts)}, {address_of(self.facts, source=False)}, as the plugin sees it"
        if kind in ("RULE-SET", "GEOSITE"):
            return self._why_set(condition, answer)
        if kind in ("IN-TYPE", "IN-USER", "IN-NAME", "IN-PORT", "NETWORK", "DSCP", "REMATCH-NAME"):
            field_name = kind.lower().replace("-", "_")
            return f"{field_name.replace('_', ' ')} {getattr(self.facts, field_name)}"
        if kind.startswith("DOMAIN"):
            return name_of(self.facts)
        if kind in ("DST-PORT", "SRC-PORT"):
            source = kind == "SRC-PORT"
            return f"port {self.facts.source_port if source else self.facts.target_port}"
        if kind == "TIME":
            return moment_of(int(self.facts.minute_of_week))
        if kind_of(kind).about_addresses:
            return address_of(self.facts, source=params_of(condition)[0])
        return process_of(self.facts, kind)

    def _why_set(self, condition: Condition, answer: int) -> str:
        """Return which entry of a set the flow meets, as far as there is one to name."""
        looked = f"{name_of(self.facts)}, {address_of(self.facts, source=params_of(condition)[0])}"
        if answer != MATCHED or not self.facts.host:
            return looked
        entry = self.builder.members(set_name(condition)).entry(self.facts.host)
        return f"{looked}: entry {entry!r}" if entry else looked


def _combined(kind: str, results: list[int]) -> int:
    """Return AND, OR, NOT or SUB-RULE of what the parts answered."""
    if kind == "SUB-RULE":
        return results[0]
    if kind == "NOT":
        if results[0] == INDETERMINATE:
            return int(INDETERMINATE)
        return int(NOT_MATCHED if results[0] == MATCHED else MATCHED)
    settles = kind == "OR"  # the answer that settles it
    if any((answer == MATCHED) == settles and answer != INDETERMINATE for answer in results):
        return int(MATCHED if settles else NOT_MATCHED)
    if INDETERMINATE in results:
        return int(INDETERMINATE)
    return int(NOT_MATCHED if settles else MATCHED)


def name_of(facts: Facts) -> str:
    """Return the flow's host name and whence it is."""
    if not facts.host:
        return "no host name"
    return f"host {facts.host}" + (f" ({facts.host_from})" if facts.host_from else "")


def address_of(facts: Facts, *, source: bool) -> str:
    """Return the flow's source or target."""
    packed = facts.source if source else facts.target
    side = "source" if source else "target"
    return f"{side} {ipaddress.ip_address(packed)}" if packed else f"no {side} address"


def moment_of(minute: int) -> str:
    """Return a minute of the week as people write it."""
    if minute < 0:
        return "no time"
    day, rest = divmod(minute, 24 * 60)
    return f"{MOMENT_DAYS[day % 7]} {rest // 60:02}:{rest % 60:02}"


def process_of(facts: Facts, kind: str) -> str:
    """Return what is known of the flow's process where a rule of that kind looks."""
    values: dict[str, object] = {
        "UID": facts.uid if facts.uid >= 0 else None,
        "UNIT": facts.unit or facts.cgroup,
        "CGROUP": facts.cgroup,
        "APP": facts.app,
    }
    path = facts.process_path if kind.startswith("PROCESS-PATH") else facts.process_name
    value = values.get(kind, path) if kind in values else path
    what = kind.split("-")[0].lower()
    if value is None:
        return f"{what} unknown" + (f" because {facts.process_why}" if facts.process_why else "")
    return f"{what} {value}"
