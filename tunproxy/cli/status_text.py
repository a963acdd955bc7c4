"""The status document as a person reads it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final  # Any as the document's JSON has it

from tunproxy.wire.reasons import MEANINGS, NAMES

_MEANING: Final = dict(zip(NAMES, MEANINGS, strict=True))
LANE_SHOWN: Final = 8  # our choice: prefixes
_UNITS: Final = ("kB", "MB", "GB", "TB", "PB")


def describe_status(document: Mapping[str, Any]) -> str:
    """Return the document in lines; what did not happen is left out."""
    flows, counters = document["flows"], document["counters"]
    lines = [
        _row(document["name"], _who(document)),
        _row("version", document["version"]),
        _row("flows", f"{_open_now(flows)}; {_so_far(counters)}"),
        *([_row("policy", describe_policy(document["policy"]))] if document.get("policy") else []),
        *_mode(document.get("rule_mode") or {}),
        *_table("observed", [_observed(rule) for rule in document.get("observed", ())]),
        *([_row("captured", _captured(document["capture"]))] if document.get("capture") else []),
        *([_row("lane", _lane(document))] if document.get("kernel_direct") else []),
        *([_row("names", _names(document))] if document.get("resolved") else []),
        *([_row("way out", _ways(document["network"]))] if document.get("network") else []),
        *_switch(document.get("kill_switch") or {}),
        _row("traffic", _traffic(document["traffic"])),
        *_table("dropped", _dropped(document["drops"])),
        *([_row("offload", document["offload"])] if document.get("offload") else []),
        *_table("workers", [_worker(worker) for worker in document["workers"]]),
        *([_row("sandbox", _sandbox(document["sandbox"]))] if document.get("sandbox") else []),
        *([_row("steering", f"packets {document['steering']}")] if document.get("steering") else []),
        *_table("problems", document["problems"] or ["none"]),
    ]
    return "\n".join(map(printable, lines))


def describe_policy(policy: Mapping[str, Any] | None) -> str:
    """Return what a policy consists of, in a line."""
    if not policy:
        return "unknown"
    off = f" ({policy['rules_off']:,} switched off)" if policy.get("rules_off") else ""
    parts = [f"{counted(policy.get('rules', 0), 'rule')}{off}"]
    if policy.get("rule_sets"):
        parts.append(counted(policy["rule_sets"], "rule set"))
    parts.append(f"{len(policy.get('upstreams', ())):,} upstreams and groups")
    parts.append(f"default {policy.get('default', '')}")
    return f"{policy.get('source', '')}: {', '.join(parts)}"


def _mode(told: Mapping[str, Any]) -> list[str]:
    """Return what decides in place of the rules; nothing where they do."""
    if told.get("mode", "rule") == "rule":
        return []
    return [_row("mode", f"{told['mode']}: everything goes through {told['way']}, and no rule is asked")]


def _observed(rule: Mapping[str, Any]) -> str:
    """Return what a rule that only counts would have decided."""
    place = f"  ({rule['place']})" if rule["place"] else ""
    return f"{rule['rule']}: {counted(int(rule['flows']), 'flow')}, {size(rule['octets'])}{place}"


def _ways(network: Mapping[str, Any]) -> str:
    ways = [way for way in (network.get("ipv4"), network.get("ipv6")) if way]
    found = [f"{way['link']} via {way['gateway']}" if way.get("gateway") else way["link"] for way in ways]
    return " and ".join(found) or "none"


def _switch(switch: Mapping[str, Any]) -> list[str]:
    """Return the line of the kill switch; none where it is off."""
    if not switch.get("is_on"):
        return []
    return [_row("switch", f"kill switch on, {counted(switch.get('refused', 0), 'packet')} refused")]


def _sandbox(given_up: Mapping[str, str]) -> str:
    """Return what workers have given up, and why not where they have not."""
    return ", ".join(
        f"{name} {'on' if state == 'on' else f'off: {state}'}" for name, state in given_up.items()
    )


def counted(number: int, what: str) -> str:
    """Return how many there are of what."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def size(octets: float) -> str:
    """Return a number of octets in three digits or so, in decimal units as network people count."""
    if octets < 1000:
        return f"{octets:.0f} B"
    power = 0
    while octets >= 999.5 and power < len(_UNITS):
        octets /= 1000
        power += 1
    return f"{octets:.{0 if octets >= 99.95 else 1}f} {_UNITS[power - 1]}"


def duration(seconds: float) -> str:
    """Return a time in its two largest units."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, seconds = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def _who(document: Mapping[str, Any]) -> str:
    what = f"running {document['command']!r} on {document['tun']}" if document["mode"] == "exec" else "up"
    return f"{what} for {duration(document['uptime_seconds'])}, process {document['pid']}"


def _open_now(flows: Mapping[str, int]) -> str:
    details = [
        f"{count:,} {words}"
        for count, words in (
            (flows.get("tcp_embryos", 0), "being opened"),
            (flows.get("tcp_time_wait", 0), "in TIME-WAIT"),
        )
        if count
    ]
    tcp = f"{flows.get('tcp', 0):,} TCP" + (f" ({', '.join(details)})" if details else "")
    pings = f", {flows['icmp_echo']:,} ping" if flows.get("icmp_echo") else ""
    return f"{tcp}, {flows.get('udp', 0):,} UDP{pings}"


def _so_far(counters: Mapping[str, int]) -> str:
    parts = [f"{counters.get('flows_opened', 0):,} opened"]
    parts += [
        f"{counters[name]:,} {words}"
        for name, words in (
            ("flows_refused", "refused"),
            ("flows_evicted", "evicted"),
            ("retransmits", "segments sent again"),
        )
        if counters.get(name)
    ]
    return ", ".join(parts)


def _traffic(traffic: Mapping[str, int]) -> str:
    ways = (("from", "in"), ("to", "out"))
    return ", ".join(
        f"{size(traffic.get(f'bytes_{way}', 0))} {word} programs ({traffic.get(f'frames_{way}', 0):,} frames)"
        for word, way in ways
    )


def _names(document: Mapping[str, Any]) -> str:
    """Return who answers names, and whether anybody asks past us."""
    resolved, leaks = document["resolved"], document.get("dns_leaks", {})
    if not resolved.get("is_answering"):
        return "left alone"
    parts = ["answered here"]
    if resolved.get("state") == "taken":
        parts.append("systemd-resolved asks us")
    elif resolved.get("why"):
        parts.append(f"systemd-resolved does not ask us ({resolved['why']})")
    if leaks.get("is_counted"):
        parts.append("nobody asks past us" if not leaks["packets"] else f"{leaks['packets']:,} asked past us")
    elif leaks.get("why"):
        parts.append(f"leaks are not counted ({leaks['why']})")
    return "; ".join(parts)


def _captured(capture: Mapping[str, Any]) -> str:
    """Return what [capture] says, in its words; networks and users are those of the document."""
    parts = []
    for key, value in capture.items():
        values = ", ".join(map(str, value)) if isinstance(value, list) else ""
        parts.append(f"{key} {values}".rstrip())
    return "; ".join(parts)


def _lane(document: Mapping[str, Any]) -> str:
    shown = document["kernel_direct"]
    more = document.get("kernel_direct_prefixes", 0) - len(shown[:LANE_SHOWN])
    text = " ".join(map(str, shown[:LANE_SHOWN]))
    return f"kernel-direct: {text}{f' and {more:,} more' if more > 0 else ''}"


def _dropped(drops: Mapping[str, int]) -> list[str]:
    happened = sorted(((count, name) for name, count in drops.items() if count), key=lambda row: -row[0])
    width = max((len(f"{count:,}") for count, _ in happened), default=0)
    return [
        f"{count:>{width},}  {name}: {_MEANING.get(name, 'see the documentation')}"
        for count, name in happened
    ] or ["nothing"]


def _worker(worker: Mapping[str, Any]) -> str:
    if not worker.get("pid"):
        return f"worker {worker.get('number', 0)} does not answer"
    return (
        f"process {worker['pid']}: {size(worker.get('memory_bytes', 0))} of memory, "
        f"{worker.get('descriptors', 0):,} of {worker.get('descriptor_limit', 0):,} descriptors"
    )


def _table(name: str, rows: Sequence[str]) -> list[str]:
    return [_row(name if index == 0 else "", row) for index, row in enumerate(rows)]


def _row(name: str, text: str) -> str:
    return f"{name:<10} {text}"


def printable(line: str, *, but: str = "") -> str:
    """Return line without what a terminal would act on, but for letters that are in but."""
    return "".join(letter if letter.isprintable() or letter in but else "?" for letter in line)
