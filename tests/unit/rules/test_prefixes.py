"""Prefixes, suffixes of addresses, no-resolve and src."""

import pytest

from tests.unit.rules.rulebook import compiled, flow, matches
from tunproxy.rules.facts import NEEDS_ADDRESS
from tunproxy.rules.policy import NO_MATCH, UNDECIDED


@pytest.mark.parametrize(
    ("line", "target", "expected"),
    [
        ("IP-CIDR,10.1.2.3/8,A", "10.9.9.9", True),
        ("IP-CIDR,10.0.0.0/8,A", "11.0.0.0", False),
        ("IP-CIDR,0.0.0.0/0,A", "255.255.255.255", True),
        ("IP-CIDR,0.0.0.0/0,A", "2001:db8::1", False),
        ("IP-CIDR6,2001:db8::/32,A", "2001:db8:ffff::1", True),
        ("IP-CIDR,2001:db8::/32,A", "2001:db9::", False),
        ("IP-CIDR,::/0,A", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", True),
        ("IP-CIDR,10.0.0.0/8,A", "::ffff:10.1.1.1", True),
        ("IP-CIDR,::ffff:10.0.0.0/104,A", "10.1.1.1", True),
        ("SRC-IP-CIDR,192.168.0.0/16,A", "1.1.1.1", True),
        ("IP-CIDR,192.168.0.0/16,A,src", "1.1.1.1", True),
        ("IP-CIDR,1.1.1.1/32,A,src", "1.1.1.1", False),
        ("IP-SUFFIX,8.8.8.8/24,A", "1.8.8.8", True),
        ("IP-SUFFIX,8.8.8.8/24,A", "8.8.8.9", False),
        ("IP-SUFFIX,8.8.8.8/24,A", "::8.8.8.8", False),
        ("IP-SUFFIX,::1/64,A", "2001:db8::1", True),
        ("SRC-IP-SUFFIX,0.0.0.5/8,A", "1.1.1.1", True),
        ("GEOIP,lan,A", "127.0.0.1", True),
        ("GEOIP,LAN,A", "8.8.8.8", False),
        ("GEOIP,LAN,A", "fe80::1", True),
        ("SRC-GEOIP,LAN,A", "8.8.8.8", True),
    ],
)
def test_address_meets_rule(line: str, target: str, expected: bool) -> None:
    facts = flow(target=target)
    assert matches(line, facts) == expected
    kind, payload, _, *params = line.split(",")
    assert matches(f"OR,(({','.join([kind, payload, *params])})),A", facts) == expected


@pytest.mark.parametrize(
    "line", ["IP-CIDR,10.0.0.0/8,A", "AND,((IP-CIDR,10.0.0.0/8)),A", "IP-SUFFIX,1.1.1.1/8,A"]
)
def test_name_without_address_is_to_be_resolved(line: str) -> None:
    facts = flow("a.com", target="", address_asked=False)
    rules = compiled(line, "MATCH,B")
    assert rules.match(facts) == UNDECIDED
    assert facts.needs == NEEDS_ADDRESS
    facts.address_asked = True
    assert rules.match(facts) == 1


@pytest.mark.parametrize("line", ["IP-CIDR,10.0.0.0/8,A,no-resolve", "GEOIP,LAN,A,no-resolve"])
def test_no_resolve_skips_a_name_without_address(line: str) -> None:
    assert compiled(line).match(flow("a.com", target="", address_asked=False)) == NO_MATCH
