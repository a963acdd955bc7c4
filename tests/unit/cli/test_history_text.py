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


def test_what_is_not_shown_is_said(rows: list[dict[str, object]]) -> None:
    assert list(describe_history(rows, 5000))[-1] == "3 of 5,000 flows (--limit 0 shows all)"
    assert list(describe_history([], 0)) == ["no flow was recorded that is meant"]
    assert describe_gaps(1, ["they ended too fast"]) == "1 flow more was not recorded: they ended too fast"


def test_names_do_not_steer_the_terminal() -> None:
    lines = list(describe_history([entry(id=1, name="\x1b[2Jx")], 1))
    assert "\x1b" not in "".join(lines)
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
