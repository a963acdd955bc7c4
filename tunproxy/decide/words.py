"""A why-record as a person reads it: first what happens, in one sentence, then why."""

from collections.abc import Mapping, Sequence
from typing import Any, Final  # Any: a document, as JSON has it

_RESULTS: Final = {
    "matched": "matched",
    "not_matched": "not matched",
    "skipped": "skipped",
    "indeterminate": "cannot be said",
    "observed": "would have",
}
_WIDTH: Final = 11
_KEPT: Final = 8  # our choice: rules that did not match and are shown, the last ones

Record = Mapping[str, Any]


def describe_record(record: Record, *, every_rule: bool = False) -> str:
    """Return a record in lines; every_rule: also those far from the one that decided."""
    lines = [sentence(record), ""]
    lines += _inputs(record["inputs"])
    lines += _list("plugins", [_plugin(each) for each in record["plugins"]])
    lines += _list("observed", [_observed(each) for each in record.get("observed", ())])
    lines += _list("rules", _rules(record["rules"], every_rule=every_rule))
    lines += _list("attempts", [_dial(each) for each in record["dials"]])
    still = record.get("open")
    if still is not None:
        lines += _list("open", [f"for {still['seconds']:g} s; {_octets(still)}"])
    closed = record["closed"]
    if closed is not None:
        lines += _list("closed", [f"{closed['reason']} after {closed['seconds']:g} s; {_octets(closed)}"])
    return "\n".join(_printable(line.rstrip()) for line in lines)


def sentence(record: Record) -> str:
    """Return what happens to the flow, and by whose decision."""
    verdict = record["verdict"]
    needs = " and the ".join(verdict["needs"])
    if verdict["kind"] == "sniff":
        said = f"{_flow(record)}: decided when the client has spoken, because a rule needs the name"
        otherwise = record.get("otherwise")
        return f"{said}; without one it {_goes(otherwise)}" if otherwise else said
    if verdict["decided_by"] == "nobody yet":
        return f"{_flow(record)}: not decided before the {needs} is known"
    return f"{_flow(record)} {_goes(verdict)}, {_because(verdict, record['plugins'])}"


def _flow(record: Record) -> str:
    flow = record["flow"]
    place = record["inputs"]["name"]["value"] or flow["target"]
    if flow["protocol"] == "icmp":
        return f"ping of {place}"
    return (
        f"{flow['protocol']} to [{place}]:{flow['target_port']}"
        if ":" in place
        else (f"{flow['protocol']} to {place}:{flow['target_port']}")
    )


def _goes(verdict: Record) -> str:
    kind = verdict["kind"]
    if kind == "reject":
        return "is refused"
    if kind == "drop":
        return "gets no answer"
    if verdict["address"] is None:
        return f"goes through {verdict['chain']}"
    address = verdict["address"]
    if verdict["port"] is not None:
        address = f"[{address}]:{verdict['port']}" if ":" in address else f"{address}:{verdict['port']}"
    return f"goes through {verdict['chain']} by way of {address}"


def _because(verdict: Record, plugins: Sequence[Record]) -> str:
    if verdict["decided_by"] == "plugin":  # or a mode, which asks none
        who = "as a plugin decided" if plugins else "before any rule was asked"
        return f"{who}{': ' + verdict['why'] if verdict['why'] else ''}"
    rule = verdict["rule"]
    if rule is None:
        return "by default, as no rule matched" if verdict["why"] in ("", "default") else verdict["why"]
    place = f"{rule['file']}:{rule['line']}" if rule["file"] else f"line {rule['line']}"
    return f"because of rule {rule['number']} ({place}): {rule['text']}"


def _inputs(inputs: Record) -> list[str]:
    lines = _list("name", [_known(inputs["name"])]) + _list("address", [_known(inputs["address"])])
    process = inputs["process"]
    if process is not None:
        lines += _list("process", [_process(process)])
    if inputs["time"] is not None:
        lines += _list("time", [inputs["time"]])
    if inputs["protocol_spoken"] is not None:
        lines += _list("speaks", [inputs["protocol_spoken"]])
    return lines


def _known(value: Record) -> str:
    if value["value"] is None:
        return f"unknown: {value['why'] or 'nobody has said'}"
    said = str(value["value"])
    if value["from"] is not None:
        said += f" ({value['from']})"
    if value["others"]:
        said += f"; may also be {', '.join(value['others'])}"
    return said


def _process(process: Record) -> str:
    parts = []
    if process["name"]:
        parts.append(process["name"])
    if process["path"]:
        parts.append(f"({process['path']})")
    words = " ".join(parts)
    rest = [words] if words else []
    for key, called in (
        ("pid", "pid"), ("uid", "user"), ("unit", "unit"), ("app", "app"), ("container", "container"),
        ("container_name", "called"),
    ):  # fmt: skip
        if process.get(key) is not None:
            rest.append(f"{called} {process[key]}")
    if not rest:
        return f"unknown: {process['why']}"
    return ", ".join(rest) + (f"; the rest is unknown: {process['why']}" if process["why"] else "")


def _plugin(each: Record) -> str:
    return f"{each['name']}: {each['answer']} ({each['milliseconds']:g} ms)"


def _rules(rules: Sequence[Record], *, every_rule: bool) -> list[str]:
    dull = [at for at, rule in enumerate(rules) if rule["result"] == "not_matched"]
    hidden = set() if every_rule else set(dull[:-_KEPT])
    lines = []
    count = 0
    for at, rule in enumerate(rules):
        if at in hidden:
            count += 1
            continue
        if count:
            lines.append(f"… {count} rules that did not match (--all shows them)")
            count = 0
        within = f"{rule['list']}: " if rule["list"] else ""
        lines.append(
            f"{_RESULTS[rule['result']]:<14} {rule['number']:>5} {within}{rule['text']}  ({rule['why']})"
        )
    if count:
        lines.append(f"… {count} rules that did not match (--all shows them)")
    return lines


def _observed(rule: Record) -> str:
    place = f"{rule['file']}:{rule['line']}" if rule["file"] else f"line {rule['line']}"
    said = f"rule {rule['number']} ({place}) would have sent it to {rule['target']}"
    return f"{said}, and only counts: {rule['text']}"


def _dial(each: Record) -> str:
    how = each["failure"] or "connected"
    return f"{each['where']}: {how} after {each['milliseconds']:g} ms"


def _octets(carried: Record) -> str:
    return f"{carried['octets_up']} octets up, {carried['octets_down']} down"


def _list(title: str, rows: Sequence[str]) -> list[str]:
    return [f"{title if at == 0 else '':<{_WIDTH}}{row}" for at, row in enumerate(rows)]


def _printable(line: str) -> str:
    """Return line without what could steer a terminal: names come from the network."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
