"""The status document as a person reads it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final  # Any as the document's JSON has it

from tunproxy.wire.reasons import MEANINGS, NAMES

_MEANING: Final = dict(zip(NAMES, MEANINGS, strict=True))
_UNITS: Final = ("kB", "MB", "GB", "TB", "PB")


def describe_status(document: Mapping[str, Any]) -> str:
    """Return the document in lines; what did not happen is left out."""
    flows, counters = document["flows"], document["counters"]
    lines = [
        _row(document["name"], _who(document)),
        _row("version", document["version"]),
        _row("flows", f"{_open_now(flows)}; {_so_far(counters)}"),
        *([_row("policy", describe_policy(document["policy"]))] if document.get("policy") else []),
        _row("traffic", _traffic(document["traffic"])),
        *_table("dropped", _dropped(document["drops"])),
        *_table("workers", [_worker(worker) for worker in document["workers"]]),
        *_table("problems", document["problems"] or ["none"]),
    ]
    return "\n".join(map(_printable, lines))


def describe_policy(policy: Mapping[str, Any] | None) -> str:
    """Return what a policy consists of, in a line."""
    if not policy:
        return "unknown"
    parts = [counted(policy.get("rules", 0), "rule")]
    if policy.get("rule_sets"):
        parts.append(counted(policy["rule_sets"], "rule set"))
    parts.append(f"{len(policy.get('upstreams', ())):,} upstreams and groups")
    parts.append(f"default {policy.get('default', '')}")
    return f"{policy.get('source', '')}: {', '.join(parts)}"


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


def _dropped(drops: Mapping[str, int]) -> list[str]:
    happened = sorted(((count, name) for name, count in drops.items() if count), key=lambda row: -row[0])
    width = max((len(f"{count:,}") for count, _ in happened), default=0)
    return [
        f"{count:>{width},}  {name}: {_MEANING.get(name, 'see the documentation')}"
        for count, name in happened
    ] or ["nothing"]


def _worker(worker: Mapping[str, Any]) -> str:
    return (
        f"process {worker.get('pid', 0)}: {size(worker.get('memory_bytes', 0))} of memory, "
        f"{worker.get('descriptors', 0):,} of {worker.get('descriptor_limit', 0):,} descriptors"
    )


def _table(name: str, rows: Sequence[str]) -> list[str]:
    return [_row(name if index == 0 else "", row) for index, row in enumerate(rows)]


def _row(name: str, text: str) -> str:
    return f"{name:<10} {text}"


def _printable(line: str) -> str:
    """Return line without what a terminal would act on."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)
