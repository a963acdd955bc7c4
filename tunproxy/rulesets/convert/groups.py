"""Groups of other programs as groups of ours: which kind, how members are tested, what is lost of them."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from tunproxy.rulesets.convert.nodes import Node
from tunproxy.rulesets.convert.report import Outlet

TESTED: Final = ("url-test", "fallback", "load-balance")
KINDS: Final = ("select", *TESTED, "relay")
STRATEGIES: Final = ("consistent-hashing", "round-robin", "sticky-sessions")

_CALLED: Final = {
    "selector": "select", "urltest": "url-test", "chain": "relay", "failover": "fallback", "static": "select",
}  # fmt: skip
# They change nothing about where flows go, or are about tests that only show something.
_SILENT: Final = (
    "hidden", "icon", "icon-url", "no-alert", "interrupt_exist_connections", "evaluate-before-use",
    "idle_timeout", "max-failed-times", "lazy",
)  # fmt: skip
_UNITS: Final = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|[smhd]?)")
_SPAN: Final = re.compile(rf"(?:{_PART.pattern})+")


def group_of(
    label: str, kind: str, members: Sequence[str], keys: Mapping[str, object], line: int = 1
) -> Outlet:
    """Return a group; keys are all that its program says besides name, kind and members."""
    node = Node(label, _CALLED.get(kind, kind), keys, line)
    if node.kind not in KINDS:
        node.left_out.append(f"{kind!r} is no kind of group here: somebody has to choose")
        node.kind = "select"
    if node.kind in TESTED:
        _tested(node)
    else:
        node.take("url", "interval", "timeout", "tolerance", "expected-status")
    chosen = node.text("default", "selected")
    if node.kind == "select" and chosen:
        node.options["selected"] = chosen
    node.take(*_SILENT)
    return node.group(members)


def _tested(node: Node) -> None:
    """Take how members are tested."""
    if node.take("lazy") is False:
        node.options["lazy"] = False
    if url := node.text("url"):
        node.options["url"] = url
    for key in ("interval", "timeout"):
        text = node.text(key)
        seconds = _seconds(text)
        if seconds < 0:
            node.left_out.append(f"{key} {text!r} is no number of seconds")
            continue
        if key == "timeout" and seconds >= 100:  # Clash says it in milliseconds
            seconds /= 1000
        if seconds:
            node.options[key] = max(seconds, 1) if key == "interval" else seconds
    tolerance = node.text("tolerance")
    if node.kind == "url-test" and tolerance.isascii() and tolerance.isdigit():
        node.options["tolerance"] = int(tolerance)
    status = node.text("expected-status")
    if status.isascii() and status.isdigit():
        node.options["status"] = int(status)
    elif status not in ("", "*"):
        node.left_out.append(f"any status is well, not {status!r} alone")
    strategy = node.text("strategy")
    if node.kind == "load-balance" and strategy in STRATEGIES:
        node.options["strategy"] = strategy
    elif strategy:
        node.left_out.append(f"there is no strategy {strategy!r}")


def _seconds(text: str) -> float:
    """Return the seconds of `300` or `1m30s`, 0 for no text, -1 for what is no span of time."""
    if text and not _SPAN.fullmatch(text):
        return -1
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return int(seconds) if seconds == math.floor(seconds) else seconds
