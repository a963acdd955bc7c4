"""What the tests ask of sets: whether a flow is in one, by the plainest reading of what a set is."""

import ipaddress
import re
from dataclasses import dataclass

from tunproxy.rules.model import Condition, RuleSetContent


@dataclass(frozen=True)
class To:
    """A flow, as far as the sets of these tests ask."""

    host: str = ""
    address: str = ""
    port: int = 0
    network: str = "tcp"
    source: str = "172.16.0.1"
    source_port: int = 40000
    process: str = ""
    path: str = ""


def holds(content: RuleSetContent, flow: To) -> bool:
    """Return whether the flow is in the set."""
    host = flow.host
    if host and (
        host in content.exact
        or any(host == name or host.endswith("." + name) for name in content.suffix)
        or any(host.endswith("." + name) for name in content.below)
        or any(pattern_fits(pattern, host) for pattern in content.wildcard)
        or any(word in host for word in content.keyword)
        or any(re.search(expression, host) for expression in content.regex)
    ):
        return True
    if flow.address and any(
        ipaddress.ip_address(flow.address).version == version
        and first <= int(ipaddress.ip_address(flow.address)) <= last
        for version, first, last in content.ranges
    ):
        return True
    return any(meets(condition, flow) for condition in content.conditions)


def pattern_fits(pattern: str, host: str) -> bool:
    """Return whether Clash's pattern describes the host, label by label."""
    if pattern.startswith("+."):
        return pattern_fits(pattern[2:], host) or pattern_fits(pattern[1:], host)
    if pattern.startswith("."):
        own, labels = pattern[1:].split("."), host.split(".")
        return len(labels) > len(own) and pattern_fits(pattern[1:], ".".join(labels[-len(own) :]))
    own, labels = pattern.split("."), host.split(".")
    return len(own) == len(labels) and all(a in ("*", b) for a, b in zip(own, labels, strict=True))


def meets(condition: Condition, flow: To) -> bool:
    """Return whether the flow meets the condition."""
    kind, payload, host = condition.kind, condition.payload, flow.host
    children = condition.children
    if kind == "AND":
        return all(meets(child, flow) for child in children)
    if kind == "OR":
        return any(meets(child, flow) for child in children)
    if kind == "NOT":
        return not meets(children[0], flow)
    if kind in ("IP-CIDR", "SRC-IP-CIDR"):
        address = flow.source if kind.startswith("SRC") else flow.address
        return bool(address) and ipaddress.ip_address(address) in ipaddress.ip_network(payload)
    if kind in ("DST-PORT", "SRC-PORT"):
        port = flow.source_port if kind.startswith("SRC") else flow.port
        ranges = [part.split("-") for part in payload.split("/")]
        return any(int(part[0]) <= port <= int(part[-1]) for part in ranges)
    return (
        {
            "DOMAIN": host == payload,
            "DOMAIN-SUFFIX": host == payload or host.endswith("." + payload),
            "DOMAIN-KEYWORD": payload in host,
            "DOMAIN-REGEX": bool(host) and re.search(payload, host) is not None,
            "NETWORK": flow.network == payload,
            "PROCESS-NAME": flow.process == payload,
            "PROCESS-PATH": flow.path == payload,
            "PROCESS-PATH-REGEX": re.search(payload, flow.path) is not None,
        }[kind]
        if kind.startswith(("DOMAIN", "NETWORK")) or flow.process or flow.path
        else False
    )
