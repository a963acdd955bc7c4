"""Why-records: everything that led to where a flow went, as a document with keys that stay.

    flow        protocol, and both ends
    inputs      what was known, each with where it came from, or why it is unknown
    plugins     who was asked, what the answer was, and how long it took
    rules       every rule asked: matched, not_matched, skipped, indeterminate, observed, and why
    observed    of these, what would have decided if it did more than count
    verdict     what was decided, by whom, and through which upstreams it goes
    dials       attempts to get there;  open: what it has carried so far;  closed: how it ended;  all three
                only of flows that there were

A record is written when somebody asks: the rules are asked once more, one by one, with the facts as they
were.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy.decide.trace import SNIFFING, WAITING, FlowLookup, Owner, Trace
from tunproxy.flow.verdict import KIND_NAMES, FlowInfo, Verdict
from tunproxy.rules.build import Builder
from tunproxy.rules.explain import OBSERVED, Record, explain, moment_of
from tunproxy.rules.facts import NEEDS_ADDRESS, NEEDS_NAME, Facts, need_names
from tunproxy.rules.kinds import NO_CUSTOM, CustomKinds
from tunproxy.rules.model import Rule, RuleSetContent

VERSION: Final = 1  # of the document: goes up when a key changes its meaning or goes away

# what is copied of facts: everything but how they are found out
FACTS: Final = (
    "host", "host_from", "host_asked", "address_asked", "process_asked", "process_name", "process_path",
    "uid", "cgroup", "unit", "app", "process_why", "dscp", "in_port", "in_type", "in_user", "in_name",
    "rematch_name", "minute_of_week",
)  # fmt: skip
_OWNER_FACTS: Final = ("name", "path", "uid", "cgroup", "unit", "app")
_OWNER: Final = ("pid", "argv0", "slice", "container", "container_name")  # what facts have no place for

_FAR: Final = 200  # our choice: rules that are asked one by one where it is to cost little

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dial:
    """One attempt to get somewhere: address and port, and "" or what went wrong."""

    where: str
    milliseconds: float
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a flow ended: why, after how many seconds, and the octets each way."""

    reason: str
    seconds: float
    up: int = 0
    down: int = 0


@dataclass(frozen=True)
class RuleBook:
    """The rules of one generation as they were written. builder is the one that they were compiled with."""

    rules: Sequence[Rule] = ()
    sub_rules: Mapping[str, Sequence[Rule]] = field(default_factory=dict)
    builder: Builder = field(default_factory=lambda: Builder({}))

    @classmethod
    def of(
        cls,
        rules: Sequence[Rule],
        sub_rules: Mapping[str, Sequence[Rule]],
        rule_sets: Mapping[str, RuleSetContent],
        custom: CustomKinds = NO_CUSTOM,
    ) -> "RuleBook":
        """Return the book of rules whose sets have yet to be compiled, as far as somebody asks."""
        return cls(rules, sub_rules, Builder(rule_sets, custom))


def record_of(
    info: FlowInfo,
    verdict: Verdict,
    book: RuleBook,
    *,
    number: int = 0,
    dials: Sequence[Dial] = (),
    ending: Ending | None = None,
    so_far: Ending | None = None,
    nearest: int = 0,
    owner: Owner | None = None,
) -> Document:
    """Return why this flow got this verdict; book is that of the generation that decided it.

    number is the flow's own, 0 for one that there never was. so_far is what a flow has carried that is
    not over; its reason does not matter. With nearest, only so many of the rules before the one that decided
    are asked, which costs the same however many there are. owner is whose the flow is, where that is known
    though no rule has asked for it.
    """
    trace = info.trace if isinstance(info.trace, Trace) else None
    final = verdict
    if trace is not None and trace.verdict is not None:
        final = trace.verdict
    by_plugin = trace is not None and trace.chosen is not None
    rules = [] if trace is None or by_plugin else _rules(trace, book, nearest)
    return {
        "version": VERSION,
        "number": number,
        "generation": trace.ruling.generation if trace is not None else None,
        "flow": _flow(info),
        "inputs": _inputs(info, trace, owner),
        "plugins": [_asked(*each) for each in trace.asked] if trace is not None else [],
        "rules": rules,
        "observed": [_named(each) for each in rules if each["result"] == OBSERVED],
        "verdict": _verdict(final, trace, rules, by_plugin=by_plugin),
        "dials": [
            {"where": each.where, "milliseconds": round(each.milliseconds, 1), "failure": each.failure}
            for each in dials
        ],
        "open": None if so_far is None else _carried(so_far),
        "closed": None if ending is None else {"reason": ending.reason, **_carried(ending)},
    }


def copy_of(facts: Facts) -> Facts:
    """Return the same facts, of which nothing more will be found out."""
    port, target_port = int(facts.source_port), int(facts.target_port)
    copy = Facts(facts.network, facts.source, port, facts.target, target_port)
    for name in FACTS:
        setattr(copy, name, getattr(facts, name))
    copy.resolved_for = dict(facts.resolved_for) if facts.resolved_for is not None else None
    return copy


def _carried(ending: Ending) -> Document:
    return {
        "seconds": round(ending.seconds, 3),
        "octets_up": ending.up,
        "octets_down": ending.down,
    }


def _flow(info: FlowInfo) -> Document:
    return {
        "protocol": info.protocol,
        "client": _address(info.client),
        "client_port": int(info.client_port),
        "target": _address(info.target),
        "target_port": int(info.target_port),
    }


def _inputs(info: FlowInfo, trace: Trace | None, owner: Owner | None) -> Document:
    if trace is None:
        return {
            "name": {"value": info.name or None, "from": info.name_from or None, "others": [], "why": ""},
            "address": {"value": _address(info.target), "from": "client", "others": [], "why": ""},
            "process": _owned(owner) if owner is not None else None,
            "time": None,
            "protocol_spoken": None,
        }
    facts = trace.facts
    others = [name for name in trace.names if name != facts.host]
    name_why = (
        "" if facts.host else "a name was neither asked for nor heard" if facts.host_asked else "not needed"
    )
    if trace.state == SNIFFING:
        name_why = "the client has not said anything yet"
    if trace.is_fake or not info.target:
        resolved = trace.addresses[0] if trace.addresses else None
        why = "" if resolved else "could not be resolved" if facts.address_asked else "not needed"
        address = {"value": resolved, "from": "resolved" if resolved else None, "others": trace.addresses[1:]}
        address["why"] = why
    else:
        address = {"value": _address(info.target), "from": "client", "others": [], "why": ""}
    return {
        "name": {
            "value": facts.host or None,
            "from": facts.host_from or None,
            "others": others,
            "why": name_why,
        },
        "address": address,
        "process": _process(facts) if facts.process_asked or owner is None else _owned(owner),
        "time": moment_of(int(facts.minute_of_week)) if facts.minute_of_week >= 0 else None,
        "protocol_spoken": trace.sniffed or None,
    }


def _process(facts: Facts) -> Document:
    found = facts.lookup.found if isinstance(facts.lookup, FlowLookup) else None
    document: Document = {
        "name": facts.process_name,
        "path": facts.process_path,
        "uid": int(facts.uid) if facts.uid >= 0 else None,
        "cgroup": facts.cgroup,
        "unit": facts.unit,
        "app": facts.app,
    }
    for name in _OWNER:
        value = getattr(found, name, None)
        document[name] = value if value != -1 else None
    document["why"] = facts.process_why if facts.process_asked else "no rule has asked"
    return document


def _owned(owner: Owner) -> Document:
    """Return the process that is known though no rule has asked for it."""
    document = {key: getattr(owner, key, None) for key in (*_OWNER_FACTS, *_OWNER)}
    known = {key: value if value != -1 else None for key, value in document.items()}
    return known | {"why": owner.why}


def _asked(name: str, milliseconds: float, answer: object) -> Document:
    said = "no opinion" if answer is None else str(answer)
    return {"name": name, "milliseconds": round(milliseconds, 3), "answer": said}


def _rules(trace: Trace, book: RuleBook, nearest: int) -> list[Document]:
    """Ask the rules once more, up to the one that decides, or that nothing can be said before."""
    found: list[Document] = []
    passed_over = trace.passed_over or []
    start = _first(trace, book, nearest) if nearest else 0
    if start < 0:
        return []
    while True:
        facts = copy_of(trace.facts)
        answer = explain(book.rules, {}, facts, sub_rules=book.sub_rules, start=start, builder=book.builder)
        found.extend(map(_rule, answer.records))
        if answer.number < 0:  # the default, which is no rule: -1 in passed_over means the first one
            return found
        is_off = ~answer.number in passed_over
        if answer.number not in passed_over and not is_off:
            return found
        found[-1]["result"] = "skipped"
        but = "it is switched off" if is_off else f"{found[-1]['target']} cannot carry this flow"
        found[-1]["why"] += f": but {but}"
        start = answer.number + 1


def _first(trace: Trace, book: RuleBook, nearest: int) -> int:
    """Return the rule of the main list to begin with, so that nearest come before the one that decided.

    Which of them led to a rule of another list nobody has noted: -1 where it may be far.
    """
    count = len(book.rules)
    if trace.rule < 0:
        return max(count - nearest, 0)
    if trace.rule < count:
        return max(int(trace.rule) - nearest, 0)
    leading = next((at for at, rule in enumerate(book.rules) if rule.condition.kind == "SUB-RULE"), 0)
    first = max(leading - nearest, int(trace.start))
    return first if count - first <= _FAR else -1


def _rule(record: Record) -> Document:
    return {
        "number": record.number + 1,
        "list": record.within or None,
        "text": record.text,
        "target": record.target,
        "file": record.position.file or None,
        "line": record.position.line,
        "result": record.result,
        "why": record.why,
    }


def _named(rule: Document) -> Document:
    """Return which rule it is, without what it answered."""
    return {key: rule[key] for key in ("number", "list", "text", "target", "file", "line")}


def _verdict(
    verdict: Verdict, trace: Trace | None, rules: Sequence[Document], *, by_plugin: bool
) -> Document:
    decided_by = "default"
    rule = None
    needs: list[str] = []
    if by_plugin:
        decided_by = "plugin"
    elif trace is not None and trace.state in (SNIFFING, WAITING):
        decided_by = "nobody yet"
        needs = need_names(NEEDS_NAME) if trace.state == SNIFFING else need_names(trace.facts.needs)
        needs = needs or need_names(NEEDS_ADDRESS)
    elif rules and rules[-1]["result"] == "matched":
        decided_by = "rule"
        rule = {key: value for key, value in _named(rules[-1]).items() if key != "target"}
    return {
        "kind": KIND_NAMES[verdict.kind],
        "upstream": verdict.upstream,
        "chain": verdict.chain or verdict.upstream,
        "address": verdict.address or None,
        "port": int(verdict.port) or None,
        "decided_by": decided_by,
        "why": verdict.why,
        "rule": rule,
        "needs": needs,
    }


def _address(packed: bytes) -> str | None:
    return str(ipaddress.ip_address(packed)) if packed else None
