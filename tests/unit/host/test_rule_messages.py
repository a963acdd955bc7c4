"""Rules as pyroute2 takes and gives them. What the kernel makes of them: ``test_netlink``, ``test_rules``."""

import socket
from dataclasses import replace
from ipaddress import ip_network

import pytest

from tunproxy.host.rule_messages import ALL_BITS, FIB_RULE_INVERT, PROTOCOL, Rule, rule_fields, rule_of


class Message(dict[str, object]):
    """A message of pyroute2's, whose attributes ``get`` finds too, as the kernel answers it."""

    def __init__(self, rule: Rule) -> None:
        fields = rule_fields(socket.AF_INET, rule)
        actions = {"goto": 2, "nop": 3}
        header = {"flags": 0, "src_len": 0, "dst_len": 0}
        if rule.target is not None:
            fields["dst"] = str(rule.target.network_address)
        super().__init__({**header, **fields, "action": actions.get(str(fields.get("action")), 1)})


@pytest.mark.parametrize(
    "rule",
    [
        Rule(77),
        Rule(77, table=1234),
        Rule(77, table=254, ignore_default=True),
        Rule(77, table=254, ignore_default=True, not_port=53),
        Rule(77, table=254, ignore_default=True, not_port=53, not_iif="lo"),
        Rule(77, table=254, port=53, target=ip_network("192.0.2.53")),
        Rule(77, goto=88, uid=61000),
        Rule(77, goto=88, uid=1000, last_uid=1999, iif="lo"),
        Rule(77, goto=88, mark=0x10),
        Rule(77, goto=88, mark=0x10, mask=0xF0),
        Rule(77, goto=88, mask=0x2000_0000),
        Rule(77, goto=88, source=ip_network("0.0.0.0/32"), iif="lo"),
        Rule(77, goto=88, source=ip_network("8000::/1")),
        Rule(77, goto=88, not_iif="lo"),
    ],
    ids=str,
)
def test_rule_comes_back_from_its_message(rule: Rule) -> None:
    assert rule_of(Message(rule)) == rule


def test_fields_are_ours_and_whole() -> None:
    fields = rule_fields(socket.AF_INET6, Rule(77, goto=88, mark=7, not_port=53))
    assert (fields["family"], fields["protocol"], fields["priority"]) == (socket.AF_INET6, PROTOCOL, 77)
    assert (fields["fwmark"], fields["fwmask"]) == (7, ALL_BITS)
    assert (fields["dport_range"], fields["flags"]) == ("53:53", FIB_RULE_INVERT)


def test_rule_of_another_make_is_none_of_ours() -> None:
    odd = Message(Rule(77, table=1234))
    odd["flags"] = FIB_RULE_INVERT
    odd["iifname"] = "eth0"
    assert rule_of(odd) == replace(Rule(77, table=1234), not_iif="eth0")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tos", 16),
        ("ip_proto", 17),
        ("sport_range", "50:60"),
        ("dport_range", "50:60"),
        ("oifname", "eth0"),
        ("suppress_ifgroup", 0),
        ("l3mdev", 1),
        ("tun_id", 7),
        ("flow", 3),
        ("action", 7),
        ("flags", FIB_RULE_INVERT),
    ],
)
def test_rule_with_what_none_of_ours_has_is_none_of_ours_and_can_be_named(name: str, value: object) -> None:
    plain = Rule(77, table=1234, source=ip_network("192.0.2.0/24"))
    message = Message(plain)
    message[name] = value
    odd = rule_of(message)
    assert odd not in (plain, replace(plain, port=50), replace(plain, table=0))
    assert rule_fields(socket.AF_INET, odd)[name] == value


def test_rule_that_looks_into_no_table_is_no_nop() -> None:
    message = Message(Rule(77, table=1234))
    message["table"] = 0  # "lookup [l3mdev-table]"
    assert rule_of(message) != Rule(77)
