"""Expectations beside rules: comments that say where a flow is to go, which ``tunproxy rules test`` checks.

    # expect: curl -> github.com:443/tcp => work
    # expect: uid=1000 at=mon-09:30 -> 10.0.0.7:53/udp => DIRECT
    # expect: -> files.example=192.0.2.7:443 => work

Before the first arrow stands who: the program's name, or its path, and ``uid=``, ``unit=``, ``cgroup=``,
``app=``, ``from=`` (the source address), ``at=`` (day and time). Then the target, a name or an address, or
``name=address`` for both, with a port and a network (tcp unless given; icmp has no port); then, behind
``=>``, the target of the rule that decides, or the default's. Where ways are known, a rule whose target does
not carry such a flow is passed over, as it is when a flow is decided; where none is left, it is refused.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from tunproxy.decide.ruling import Way
from tunproxy.flow.verdict import FlowInfo
from tunproxy.rules.build import Builder
from tunproxy.rules.explain import explain
from tunproxy.rules.facts import NEEDS_TIME, Facts, need_names
from tunproxy.rules.kinds import NETWORKS, NO_CUSTOM, CustomKinds
from tunproxy.rules.model import Position, Rule, RuleError, RuleSetContent
from tunproxy.rules.policy import UNDECIDED, CompiledRules

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SOURCE: Final = "10.0.0.2"
SOURCE6: Final = "fd00::2"
SOURCE_PORT: Final = 50_000

_MARK: Final = re.compile(r"^\s*#\s*expect:\s*(.*?)\s*$")
_ALMOST: Final = re.compile(r"^\s*#\s*(expect.*=>)", re.IGNORECASE)  # as people write it by mistake
_TARGET: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/]+))(?::(\d{1,5}))?(?:/([A-Za-z]+))?")
_MOMENT: Final = re.compile(r"([a-z]{3})-(\d{1,2}):(\d{2})")
_FORM: Final = "write: # expect: curl -> github.com:443/tcp => TARGET"


@dataclass(frozen=True, slots=True)
class Expectation:
    """That a flow with these facts goes to target; text is the comment as it is written."""

    position: Position
    text: str
    who: tuple[tuple[str, str], ...]
    host: str
    address: str
    port: int
    network: str
    target: str

    def facts(self) -> Facts:
        """Return the flow as rules see it; what is not said cannot be found out, but for the time."""
        packed = ip_address(self.address).packed if self.address else b""
        words = dict(self.who)
        source = ip_address(words.get("from", SOURCE6 if len(packed) == 16 else SOURCE)).packed
        facts = Facts(self.network, source, SOURCE_PORT, packed, self.port)
        facts.host = self.host
        facts.host_from = "given" if self.host else ""
        facts.host_asked = facts.address_asked = facts.process_asked = True
        path = words.get("path")
        facts.process_path = path
        facts.process_name = words.get("name", path.rpartition("/")[2] if path else None)
        facts.uid = int(words.get("uid", -1))
        facts.unit, facts.cgroup, facts.app = words.get("unit"), words.get("cgroup"), words.get("app")
        facts.process_why = "the expectation does not say it"
        if "at" in words:
            facts.minute_of_week = minute_of(words["at"])
        return facts


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an expectation; why says which rule decided, or what went wrong."""

    expectation: Expectation
    target: str
    why: str

    @property
    def is_met(self) -> bool:
        return self.target == self.expectation.target

    def __str__(self) -> str:
        expected = self.expectation
        if self.is_met:
            return f"{expected.position}: ok: {expected.text}"
        went = f"goes to {self.target!r}" if self.target else "cannot be decided"
        return f"{expected.position}: expected {expected.target!r}, {went}: {self.why}"


def find_expectations(lines: Sequence[str], name: str) -> tuple[list[Expectation], list[RuleError]]:
    """Return the expectations among the lines of a file called name, and errors for those that are none."""
    found: list[Expectation] = []
    errors: list[RuleError] = []
    for number, line in enumerate(lines, 1):
        mark = _MARK.match(line)
        if mark is None:
            if almost := _ALMOST.match(line):
                position = Position(name, number, almost.start(1) + 1)
                errors.append(RuleError(position, f"no expectation ({_FORM})"))
            continue
        position = Position(name, number, mark.start(1) + 1)
        try:
            found.append(parse_expectation(mark[1], position))
        except ValueError as error:
            errors.append(RuleError(position, str(error)))
    return found, errors


def parse_expectation(text: str, position: Position) -> Expectation:
    """Return the expectation that text, behind `expect:`, is; raises ValueError saying what is wrong."""
    flow, arrow, target = text.rpartition("=>")
    who, other_arrow, where = flow.rpartition("->")
    target = target.strip()
    if not arrow or not target:
        raise ValueError(f"no target ({_FORM})")
    if not other_arrow:
        who, where = "", flow
    host, address, port, network = _where(where.strip())
    words = tuple(_word(word) for word in who.split())
    return Expectation(position, text, words, host, address, port, network, target)


def check_expectations(
    expectations: Sequence[Expectation],
    rules: Sequence[Rule],
    compiled: CompiledRules,
    rule_sets: Mapping[str, RuleSetContent],
    default: str,
    sub_rules: Mapping[str, Sequence[Rule]] | None = None,
    custom: CustomKinds = NO_CUSTOM,
    ways: Mapping[str, Way] | None = None,
) -> list[Outcome]:
    """Return what becomes of each; default is where flows go that meet no rule.

    custom are the types of rules that are not built in, ways what targets lead to, as far as that is known.
    """
    builder = Builder(rule_sets, custom)
    outcomes = []
    for expected in expectations:
        facts = expected.facts()
        info = _flow_of(expected, facts)
        start, found = 0, int(compiled.deciding(facts))
        while found >= 0 and not _carries(ways, compiled.target(facts), info):
            start = found + 1
            found = int(compiled.deciding(facts, start))
        if found == UNDECIDED:
            missing = "the time (add at=mon-09:30)" if facts.needs & NEEDS_TIME else ""
            why = f"it depends on {missing or ', '.join(need_names(facts.needs))}"
            outcomes.append(Outcome(expected, "", why))
            continue
        if found < 0:
            outcomes.append(
                Outcome(expected, "REJECT", "no rule is left whose target can carry it")
                if start
                else Outcome(expected, default, "no rule is met")
            )
            continue
        target = compiled.target(facts)
        told = explain(rules, rule_sets, expected.facts(), sub_rules=sub_rules, start=start, builder=builder)
        last = told.records[-1]
        outcomes.append(Outcome(expected, target, f"line {last.position.line}: {last.text} ({last.why})"))
    return outcomes


def _flow_of(expected: Expectation, facts: Facts) -> FlowInfo:
    """Return the flow as upstreams see it; one of which only the name is known is taken as one over IPv4."""
    target = facts.target or bytes(4)
    return FlowInfo(expected.network, facts.source, SOURCE_PORT, target, expected.port)


def _carries(ways: Mapping[str, Way] | None, target: str, info: FlowInfo) -> bool:
    way = (ways or {}).get(target)
    return way is None or way.carries(info)


def minute_of(moment: str) -> int:
    """Return the minute of the week of `mon-09:30`; raises ValueError."""
    found = _MOMENT.fullmatch(moment.lower())
    if found is None or found[1] not in DAYS or int(found[2]) > 23 or int(found[3]) > 59:
        raise ValueError(f"{moment!r} is no time (write at=mon-09:30)")
    return (DAYS.index(found[1]) * 24 + int(found[2])) * 60 + int(found[3])


def _word(word: str) -> tuple[str, str]:
    key, sign, value = word.partition("=")
    if not sign:
        return ("path" if word.startswith("/") else "name"), word
    if key not in ("uid", "unit", "cgroup", "app", "from", "at", "name", "path") or not value:
        raise ValueError(f"unknown word {word!r} (uid, unit, cgroup, app, from, at, name, path)")
    if key == "uid" and not (value.isascii() and value.isdigit()):
        raise ValueError(f"{value!r} is no uid")
    if key == "from":
        ip_address(value)
    if key == "at":
        minute_of(value)
    return key, value


def _where(text: str) -> tuple[str, str, int, str]:
    """Return host, address, port and network of the target."""
    name, sign, rest = text.partition("=")
    found = _TARGET.fullmatch(rest if sign else text)
    if found is None:
        raise ValueError(f"{text!r} is no target of a flow ({_FORM})")
    network = (found[4] or "tcp").lower()
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r} (tcp, udp, icmp)")
    port = int(found[3] or 0)
    if port > 65_535 or (port == 0) != (network == "icmp"):
        raise ValueError(f"{text!r} wants {'no port' if network == 'icmp' else 'a port from 1 to 65535'}")
    there = found[1] or found[2]
    try:
        address = str(ip_address(there))
    except ValueError:
        if sign or found[1]:
            raise ValueError(f"{there!r} is no address") from None
        return there.lower().removesuffix("."), "", port, network
    return name.lower().removesuffix("."), address, port, network
