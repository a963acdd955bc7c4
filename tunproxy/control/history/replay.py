"""Asks rules about flows that there were: by the same ``Ruling`` that decides live ones.

What was known of a flow comes out in the order in which it did: a name that its client said when a rule asks
for it, an address that had to be resolved when a rule asks for that. So a rule with `no-resolve` is passed
over where it was. What was never found out, because no rule asked, is not made up: then the answer is what is
missing. Plugins that decide are not asked.
"""

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final  # Any: an entry, as JSON has it

from tunproxy import clock
from tunproxy.control.config.building import Parts
from tunproxy.control.history.entry import LOST, facts_from, place_of
from tunproxy.control.policy import RuleNames
from tunproxy.decide.ruling import Ruling
from tunproxy.decide.sniffing import is_worth_waiting
from tunproxy.decide.trace import DECIDED, SNIFFING, Trace
from tunproxy.flow.ports import Abilities
from tunproxy.flow.verdict import OPEN, FlowInfo, Verdict
from tunproxy.rules.facts import NEEDS_ADDRESS, NEEDS_NAME, NEEDS_PROCESS, Facts, need_names
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.group import CLASH_NAMES

_MAX_ROUNDS: Final = 16  # our choice: there are four things to find out
_SNIFFED: Final = "sniffed"

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """Where a flow would go: the target, or what is missing to say it; and the rule, "" for the default."""

    target: str = ""
    needs: tuple[str, ...] = ()
    rule: str = ""
    place: str = ""


class Replay:
    """The rules of a policy's parts, to be asked about entries."""

    def __init__(self, parts: Parts) -> None:
        self._default: Final = parts.default
        self._naming: Final = RuleNames(parts)
        self._cannot: Final[set[str]] = set()  # the targets that could not carry the flow in question
        ways = {name: _Way(name, way, self._cannot) for name, way in parts.ways.items()}
        self._ruling: Final = Ruling(
            parts.compiled, ways, parts.default, self._naming, waiters=_Patience(), wants_names=True
        )

    def answer(self, entry: Entry) -> Answer:
        """Return where the flow of an entry would go. Raises ValueError and KeyError for what is no entry."""
        known = facts_from(entry)
        told = entry["facts"] or {}
        self._cannot.clear()
        self._cannot.update(map(meant, told.get("cannot", ())))
        target = ipaddress.ip_address(entry["target"]).packed
        info = FlowInfo(known.network, known.source, known.source_port, target, known.target_port)
        facts = Facts(known.network, known.source, known.source_port, target, known.target_port)
        trace = Trace(facts, self._ruling, clock.now())
        info.trace = trace
        _reveal_at_once(trace, info, known, entry, is_fake=bool(told.get("is_fake")))
        may_sniff = True
        for _ in range(_MAX_ROUNDS):
            verdict = self._ruling.judge(info, trace, may_sniff, True)
            if trace.state == DECIDED:
                return self._said(trace, verdict)
            if trace.state == SNIFFING:
                may_sniff = False
                if not self._say_name(info, trace, known):
                    return Answer(needs=tuple(need_names(NEEDS_NAME)))
                continue
            missing = _reveal(facts, known, target if not trace.is_fake else b"")
            if missing:
                return Answer(needs=tuple(need_names(missing)))
        return Answer(needs=tuple(need_names(facts.needs)))

    def _say_name(self, info: FlowInfo, trace: Trace, known: Facts) -> bool:
        """Tell the rules the name that the client said, or that it said none; False where nobody listened."""
        if known.host_from == _SNIFFED:
            self._ruling.sniffed(info, trace, known.host, "")
            return True
        is_told = info.protocol == "icmp" or not is_worth_waiting(info.protocol, int(info.target_port))
        trace.facts.host_asked = known.host_asked or is_told
        return trace.facts.host_asked

    def _said(self, trace: Trace, verdict: Verdict) -> Answer:
        if verdict.upstream == LOST:
            return Answer(LOST)
        if trace.rule < 0:
            return Answer(meant(self._default))
        rule = self._naming.rule(int(trace.rule))
        return Answer(meant(rule.target), rule=rule.text, place=place_of(rule))


def meant(target: str) -> str:
    """Return the one name of a target that has several: DIRECT is direct."""
    return CLASH_NAMES.get(target, target)


def _reveal_at_once(trace: Trace, info: FlowInfo, known: Facts, entry: Entry, *, is_fake: bool) -> None:
    """Tell the rules what was known when the flow began."""
    facts = trace.facts
    if known.host and known.host_from != _SNIFFED:
        facts.host, facts.host_from = known.host, known.host_from
        info.name, info.name_from = known.host, known.host_from
    if is_fake:
        trace.is_fake = True
        facts.target = b""
        info.host = facts.host
    for name in ("dscp", "in_port", "in_type", "in_user", "in_name", "rematch_name"):
        setattr(facts, name, getattr(known, name))
    minute = int(known.minute_of_week)
    if minute < 0:
        at = time.localtime(entry["began"])
        minute = (at.tm_wday * 24 + at.tm_hour) * 60 + at.tm_min
    facts.minute_of_week = minute


def _reveal(facts: Facts, known: Facts, target: bytes) -> int:
    """Tell the rules what they need to know; return, as bits, what nobody knows."""
    needs = int(facts.needs)
    missing = 0
    if needs & NEEDS_PROCESS and not facts.process_asked:
        if known.process_asked:
            for name in ("process_name", "process_path", "uid", "cgroup", "unit", "app", "process_why"):
                setattr(facts, name, getattr(known, name))
            facts.process_asked = True
        else:
            missing |= int(NEEDS_PROCESS)
    elif needs & NEEDS_ADDRESS and not facts.address_asked:
        found = known.target or target
        if found and not facts.target:
            facts.target = found
        elif known.address_asked:
            facts.address_asked = True
        else:
            missing |= int(NEEDS_ADDRESS)
    return missing


class _Way:
    """Stands for a way: what it carries is the real one's to say, where a verdict leads nobody's."""

    def __init__(self, name: str, way: Upstream, cannot: set[str]) -> None:
        self._name: Final = name
        self._way: Final = way
        self._cannot: Final = cannot

    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        return Verdict(OPEN, self._name, why=why)

    def constant(self, why: str = "") -> Verdict | None:
        return Verdict(OPEN, self._name, why=why)

    def tcp_constant(self, why: str = "") -> Verdict | None:
        return Verdict(OPEN, self._name, why=why)

    def carries(self, info: FlowInfo) -> bool:
        return meant(self._name) not in self._cannot and self._way.carries(info)

    def tcp_abilities(self) -> Abilities | None:
        return None


class _Patience:
    """Stands for whoever opens flows that wait: the rules may say that they would."""

    def opener_for(self, info: FlowInfo) -> object:
        return self
