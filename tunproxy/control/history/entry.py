"""What is kept of a flow that is over: a document with keys that stay.

version             1
began, ended        seconds since 1970;  seconds: how long it lasted
number, generation  its own in that run, and which rules of that run decided it
protocol, client, client_port, target, target_port, name, name_from
process             name, path, pid, uid, unit, app, as far as they are known; why not, where not
verdict             dial, open, converse, reject or drop
decided_by          rule, default, plugin (or a mode), nobody: it was over before it was decided
way                 the target that the rule names, or the default; upstream, chain: what it came to
rule, place         the rule, and file:line;  observed: rules that would have decided, were it not that
                    they only count
up, down, reason    octets each way, and how it ended
why                 the why-record, with the rules next to the one that decided; None where nobody had the
                    time
facts               what the rules knew of it, for ``replay``
"""

import ipaddress
from collections.abc import Mapping
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy.control.flow_book import row_of, why
from tunproxy.control.policy import RuleNames
from tunproxy.decide.record import FACTS, Document
from tunproxy.decide.trace import DECIDED, FlowLookup, Owner, Trace, trace_of
from tunproxy.flow.life import ENDED, FlowLife
from tunproxy.rules.facts import Facts
from tunproxy.rules.model import Rule

VERSION: Final = 1
NEAREST: Final = 8  # our choice: rules before the one that decided, as many as explain shows
LOST: Final = "nobody"  # where flows go whose fake address has lost its name

_OF_ROW: Final = (
    "number", "protocol", "client", "client_port", "target", "target_port", "name", "name_from", "verdict",
    "upstream", "chain", "rule", "seconds", "reason",
)  # fmt: skip
_OF_OWNER: Final = ("name", "path", "pid", "uid", "unit", "app", "why")


def entry_of(life: FlowLife, now: int, wall: float, owner: Owner | None, *, reasons: bool) -> Document:
    """Return the entry of a flow; wall is the moment, in seconds since 1970, of the packet path's 0.

    One that is not over is written down as if we ended now. Without reasons there is no why-record.
    """
    trace = trace_of(life.info)
    row = row_of(life, now)
    ended_at = int(life.ended_at) if life.ended_at >= 0 else now
    entry: Document = {
        "version": VERSION,
        "began": wall + int(life.began_at) / 1e6,
        "ended": wall + ended_at / 1e6,
    }
    entry |= {key: row[key] for key in _OF_ROW}
    entry["reason"] = row["reason"] or ENDED
    entry["generation"] = trace.ruling.generation if trace is not None else None
    entry["up"], entry["down"] = row["octets_up"], row["octets_down"]
    entry["process"] = _process(trace, owner)
    entry["decided_by"], entry["way"] = _decision(trace, row["upstream"])
    rule = _rule_of(trace)
    entry["place"] = place_of(rule) if rule is not None else None
    entry["observed"] = _observed(trace)
    entry["why"] = why(life, now, nearest=NEAREST, owner=owner) if reasons else None
    entry["facts"] = facts_document(trace, owner) if trace is not None else None
    return entry


def _decision(trace: Trace | None, upstream: str) -> tuple[str, str | None]:
    """Return who has decided, and the target; None where no rule and no default has."""
    if trace is None:
        return "default", upstream
    if trace.chosen is not None:
        return "plugin", None
    if trace.state != DECIDED:
        return "nobody", None
    if trace.verdict is not None and trace.verdict.upstream == LOST:
        return "default", LOST
    ruling = trace.ruling
    if trace.rule < 0:
        return "default", ruling.default
    return "rule", ruling.rules.targets[trace.rule]


def _rule_of(trace: Trace | None) -> Rule | None:
    if trace is None or trace.chosen is not None or trace.rule < 0 or trace.state != DECIDED:
        return None
    naming = trace.ruling.naming
    return naming.rule(int(trace.rule)) if isinstance(naming, RuleNames) else None


def _observed(trace: Trace | None) -> list[Document]:
    if trace is None or trace.observed is None or not isinstance(trace.ruling.naming, RuleNames):
        return []
    rules = [trace.ruling.naming.rule(number) for number in trace.observed]
    return [{"rule": rule.text, "place": place_of(rule), "target": rule.target} for rule in rules]


def place_of(rule: Rule) -> str:
    """Return where a rule is written: file:line, or the line alone where no file has it."""
    position = rule.position
    return f"{position.file}:{position.line}" if position.file else f"line {position.line}"


def _process(trace: Trace | None, owner: Owner | None) -> Document:
    """Return what is known of the process; an owner found by looking on comes second."""
    facts = trace.facts if trace is not None else None
    found = facts.lookup.found if facts is not None and isinstance(facts.lookup, FlowLookup) else None
    found = found or owner
    document = {key: getattr(found, key, None) for key in _OF_OWNER}
    if document["uid"] == -1:
        document["uid"] = None
    if found is None:
        asked = facts is not None and facts.process_asked
        document["why"] = facts.process_why if asked and facts is not None else "nobody looked in time"
    return document


def facts_document(trace: Trace, owner: Owner | None = None) -> Document:
    """Return what the rules knew: the fields of facts, and what stands around them.

    target is the address as the rules saw it in the end, is_fake that the client's was none. cannot are the
    targets of rules that the flow met and whose upstream could not carry it.
    """
    facts = trace.facts
    document: Document = {}
    for name in FACTS:
        value = getattr(facts, name)
        document[name] = int(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not facts.process_asked and owner is not None:
        document["process_asked"] = True
        document["process_name"], document["process_path"] = owner.name, owner.path
        document["process_why"] = owner.why
        for name in ("uid", "cgroup", "unit", "app"):
            document[name] = getattr(owner, name)
    document["target"] = facts.target.hex()
    document["is_fake"] = trace.is_fake
    targets = trace.ruling.rules.targets
    document["cannot"] = [targets[number] for number in trace.passed_over or () if number >= 0]
    return document


def facts_from(entry: Mapping[str, Any]) -> Facts:
    """Return the facts of an entry, all that was ever known of the flow. Raises ValueError, KeyError."""
    client = ipaddress.ip_address(entry["client"]).packed
    told = entry["facts"] or {}
    target = bytes.fromhex(told["target"]) if told else ipaddress.ip_address(entry["target"]).packed
    facts = Facts(entry["protocol"], client, entry["client_port"], target, entry["target_port"])
    for name in FACTS:
        if name in told:
            setattr(facts, name, told[name])
    if not told:
        facts.host, facts.host_from = entry["name"] or "", entry["name_from"] or ""
    return facts
