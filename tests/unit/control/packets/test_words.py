"""What stands beside a packet."""

from typing import Any

import pytest

from tunproxy.control.packets import words

ROW: dict[str, Any] = {
    "number": 12, "protocol": "tcp", "client": "10.0.0.2", "client_port": 4000, "target": "2001:db8::1",
    "target_port": 443, "name": "shop.example", "name_from": "dns", "verdict": "open",
    "chain": "work → node-3", "rule": "DOMAIN,shop.example,work", "why": "",
    "process": "curl", "process_path": "/usr/bin/curl", "uid": 1000,
    "reason": "closed", "octets_up": 1234, "octets_down": 5, "seconds": 1.5,
}  # fmt: skip


def test_beginning_has_all_that_is_known() -> None:
    assert words.beginning(ROW) == (
        "flow 12: tcp 10.0.0.2:4000 to [2001:db8::1]:443 (shop.example, by dns); process curl "
        "(/usr/bin/curl, user 1000); verdict open, through work → node-3; rule DOMAIN,shop.example,work"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"process": "", "process_path": "", "uid": -1}, "; process unknown; verdict"),
        ({"process": "", "process_path": "", "uid": 0}, "; user 0; verdict"),
        ({"rule": None, "why": "default"}, "; why: default"),
        ({"rule": None}, "; no rule"),
        ({"name": None}, "[2001:db8::1]:443; process"),
        ({"protocol": "icmp", "client_port": 0, "target_port": 0}, "icmp 10.0.0.2 to 2001:db8::1 (shop"),
    ],
)
def test_beginning_says_no_more_than_is_known(change: dict[str, Any], says: str) -> None:
    assert says in words.beginning(ROW | change)


def test_beginning_before_anything_is_decided() -> None:
    early = {
        key: ROW[key] for key in ("number", "protocol", "client", "client_port", "target", "target_port")
    }
    assert words.beginning(early) == "flow 12: tcp 10.0.0.2:4000 to [2001:db8::1]:443; not decided yet"


def test_what_has_no_flow_says_so() -> None:
    assert (
        words.beginning(ROW | {"number": 0, "name": None})
        == "no flow: tcp 10.0.0.2:4000 to [2001:db8::1]:443"
    )


def test_end_has_reason_and_octets() -> None:
    assert words.end(ROW) == "flow 12 is over: closed; 1,234 octets up, 5 down, in 1.5 s"
