"""A list of flows as a person reads it."""

from typing import Any

from tunproxy.cli.flows_text import describe_flows


def row(number: int, **more: object) -> dict[str, Any]:
    return {
        "number": number, "state": "open", "protocol": "tcp", "target": "192.0.2.1", "target_port": 443,
        "name": None, "chain": "direct", "rule": None, "why": "default", "octets_up": 10, "octets_down": 2000,
        "age_seconds": 61.5, "reason": None, **more,
    }  # fmt: skip


def test_rows_stand_in_columns_and_the_newest_is_last() -> None:
    rows = [
        row(12, name="shop.example", rule="MATCH,work", chain="work → node-3", reason="closed"),
        row(7, protocol="icmp"),
        row(3, target="2001:db8::1"),
    ]
    assert describe_flows({"flows": rows, "open": 2, "begun": 12, "kept": 1}).splitlines() == [
        "flow        age  state   target                 through          up    down  why",
        "   3  1 min 1 s  open    tcp [2001:db8::1]:443  direct         10 B  2.0 kB  default",
        "   7  1 min 1 s  open    icmp 192.0.2.1         direct         10 B  2.0 kB  default",
        "  12  1 min 1 s  closed  tcp shop.example:443   work → node-3  10 B  2.0 kB  MATCH,work",
        "2 open, 12 in all",
    ]


def test_names_with_wide_letters_stand_in_columns_as_well() -> None:
    rows = [row(8, chain="🚀 自动 → node-3"), row(7)]
    assert describe_flows({"flows": rows, "open": 2, "begun": 2, "kept": 0}).splitlines()[1:3] == [
        "   7  1 min 1 s  open   tcp 192.0.2.1:443  direct            10 B  2.0 kB  default",
        "   8  1 min 1 s  open   tcp 192.0.2.1:443  🚀 自动 → node-3  10 B  2.0 kB  default",
    ]


def test_no_flow_is_said() -> None:
    assert (
        describe_flows({"flows": [], "open": 0, "begun": 0, "kept": 0}) == "no flow to show: 0 open, 0 in all"
    )


def test_names_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in describe_flows(
        {"flows": [row(1, name="a\x1b[2J")], "open": 1, "begun": 1, "kept": 0}
    )
