"""Ports, DSCP, user ids."""

import pytest

from tests.unit.rules.rulebook import flow, matches
from tunproxy.rules.ports import parse_numbers


@pytest.mark.parametrize(
    ("line", "field", "value", "expected"),
    [
        ("DST-PORT,80/443/1000-2000,A", "target_port", 1500, True),
        ("DST-PORT,80/443/1000-2000,A", "target_port", 2001, False),
        ("DST-PORT,2000-1000,A", "target_port", 1500, True),
        ("DST-PORT,70000,A", "target_port", 4464, False),
        ("SRC-PORT,50000,A", "source_port", 50000, True),
        ("IN-PORT,7890,A", "in_port", 7890, True),
        ("DSCP,4-6/8,A", "dscp", 8, True),
        ("DSCP,4-6/8,A", "dscp", 7, False),
        ("UID,1000-1002/1005,A", "uid", 1001, True),
        ("UID,0,A", "uid", -1, False),
    ],
)
def test_number_of_the_flow_meets_rule(line: str, field: str, value: int, expected: bool) -> None:
    assert matches(line, flow(**{field: value})) == expected
    assert matches(f"OR,(({line.removesuffix(',A')})),A", flow(**{field: value})) == expected


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1--2", "80//443", "٣", "1" * 11])
def test_what_is_no_number_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="neither a number nor a range"):
        parse_numbers(text)
