"""Flows that are over, in words."""

import time

import pytest

from tests.unit.control.history.world import entry
from tunproxy.cli.history_text import describe_entry, describe_gaps, describe_history

AT = time.mktime((2026, 11, 22, 8, 5, 9, 0, 0, -1))


@pytest.fixture
def rows() -> list[dict[str, object]]:
    return [
        entry(id=1, ended=AT),
        entry(
            id=123456,
            ended=AT,
            name="a-very-long-name.of-a-host.in-some.deep.example.com",
            process={"name": "a-long-program-name"},
            chain="work → node-3",
            up=123_456_789,
            reason="not reached: no route to host",
        ),
        entry(id=3, ended=AT, name=None, target="2001:db8::1", protocol="icmp", process={}),
    ]


def test_table_has_80_columns_the_newest_last(rows: list[dict[str, object]]) -> None:
    lines = list(describe_history(rows, 3))
    assert lines == [
        "    id ended       program   target                   through     octets end",
        "     1 11-22 08:05 curl      tcp www.example.com:443  direct      2.0 kB closed",
        "123456 11-22 08:05 a-long-p… tcp …eep.example.com:443 work → no…  123 MB not re…",
        "     3 11-22 08:05 -         icmp 2001:db8::1         direct      2.0 kB closed",
        "3 flows",
    ]
    assert max(map(len, lines)) <= 80


def test_wider_terminal_shows_more(rows: list[dict[str, object]]) -> None:
    lines = list(describe_history([*rows, entry(id=4, ended=AT, chain="🚀 自动 → node-3")], 4, 132))
    assert lines[2:5] == [
        "123456 11-22 08:05 a-long-program… tcp …f-a-host.in-some.deep.example.com:443 work → node-3"
        "                 123 MB not reached: no …",
        "     3 11-22 08:05 -               icmp 2001:db8::1                           direct"
        "                        2.0 kB closed",
        "     4 11-22 08:05 curl            tcp www.example.com:443                    🚀 自动 → node-3"
        "              2.0 kB closed",
    ]
    assert max(map(len, lines)) <= 132
    assert max(map(len, describe_history(rows, 3, 40))) <= 80


def test_what_is_no_terminal_gets_everything(rows: list[dict[str, object]]) -> None:
    text = "\n".join(describe_history(rows, 3, 0))
    for whole in (
        "a-long-program-name tcp a-very-long-name.of-a-host.in-some.deep.example.com:443 work → node-3",
        "not reached: no route to host\n",
    ):
        assert whole in text


def test_what_is_not_shown_is_said(rows: list[dict[str, object]]) -> None:
    assert list(describe_history(rows, 5000))[-1] == "3 of 5,000 flows (--limit 0 shows all)"
    assert list(describe_history([], 0)) == ["no flow was recorded that is meant"]
    assert describe_gaps(1, ["they ended too fast"]) == "1 flow more was not recorded: they ended too fast"


def test_names_do_not_steer_the_terminal() -> None:
    lines = list(describe_history([entry(id=1, name="\x1b[2Jx")], 1))
    assert "\x1b" not in "".join(lines)
    assert "\x1b" not in "".join(describe_history([entry(id=1, name="\x1b[2Jx")], 1, 0))
    assert "\x1b" not in describe_entry(entry(reason="\x1b[2J"))


def test_one_flow_in_full() -> None:
    text = describe_entry(entry(ended=AT, rule="MATCH,direct", place="x.rules:7"))
    assert text.splitlines() == [
        "tcp www.example.com:443 went through direct: rule MATCH,direct (x.rules:7)",
        "closed     closed after 2 s",
        "octets     10 up, 2000 down",
        "program    curl (/usr/bin/curl)",
        "ended      2026-11-22 08:05:09",
    ]
