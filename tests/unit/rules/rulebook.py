"""Builders of rules and flows for the tests."""

import ipaddress
from collections.abc import Mapping

from tunproxy.rules.compile import compile_rules
from tunproxy.rules.facts import Facts
from tunproxy.rules.files import RuleFile, parse_rules
from tunproxy.rules.model import Rule, RuleSetContent
from tunproxy.rules.policy import CompiledRules

TARGETS = ("A", "B", "C")


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def flow(
    host: str = "",
    target: str = "93.184.216.34",
    port: int = 443,
    network: str = "tcp",
    source: str = "192.168.1.5",
    source_port: int = 50000,
    **more: object,
) -> Facts:
    """Return a flow of which everything is known that will ever be; target "" for one without an address."""
    facts = Facts(network, packed(source), source_port, packed(target) if target else b"", port)
    facts.host = host
    facts.host_asked = facts.address_asked = facts.process_asked = True
    facts.minute_of_week = 0
    for name, value in more.items():
        setattr(facts, name, value)
    return facts


def read(*lines: str) -> RuleFile:
    return parse_rules("\n".join(lines).encode(), "test.rules")


def rules(*lines: str) -> list[Rule]:
    result = read(*lines)
    assert not result.errors, result.errors
    return result.rules


def compiled(
    *lines: str,
    sets: Mapping[str, RuleSetContent] | None = None,
    subs: Mapping[str, list[Rule]] | None = None,
) -> CompiledRules:
    return compile_rules(rules(*lines), sets or {}, TARGETS, subs)


def matches(line: str, facts: Facts, sets: Mapping[str, RuleSetContent] | None = None) -> bool:
    """Return whether a flow meets the one rule, given without a target where that is last."""
    found = compiled(line, sets=sets).match(facts)
    assert found in (0, -1), found
    return found == 0
