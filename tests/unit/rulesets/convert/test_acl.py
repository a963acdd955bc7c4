"""shadowsocks-rust's access lists."""

import pytest

from tests.unit.rulesets.programs import damaged
from tunproxy.rules.model import RuleError
from tunproxy.rulesets.convert.acl import convert_acl
from tunproxy.rulesets.convert.report import Conversion

DATA = rb"""# mine
[bypass_all]
[bypass_list]
10.0.0.0/8
::1
||lan.example
[proxy_list]
|exact.example
(^|\.)suffix\.example$
^whole\.example$
^r[0-9]{1,2}\.example$
[outbound_block_list]
||ads.example # note
[strange]
x
"""


def test_lists_in_the_order_in_which_they_are_asked() -> None:
    result = convert_acl(DATA, "x", "Work")
    assert result.lines == [
        "DOMAIN-SUFFIX,ads.example,REJECT",
        "DOMAIN,exact.example,Work",
        "DOMAIN-SUFFIX,suffix.example,Work",
        "DOMAIN,whole.example,Work",
        r"DOMAIN-REGEX,^r[0-9]{1,2}\.example$,Work",
        "IP-CIDR,10.0.0.0/8,DIRECT",
        "IP-CIDR,::1/128,DIRECT",
        "DOMAIN-SUFFIX,lan.example,DIRECT",
        "MATCH,DIRECT",
    ]
    assert [(o.position.line, o.result) for o in result.outcomes if o.result == "dropped"] == [
        (14, "dropped"),
        (15, "dropped"),
    ]


@pytest.mark.parametrize(
    ("head", "last"),
    [
        ("[proxy_all]", "PROXY"),
        ("[accept_all]", "PROXY"),
        ("[reject_all]", "DIRECT"),
        ("[bypass_all]", "DIRECT"),
        ("", "PROXY"),
    ],
)
def test_what_is_in_no_list(head: str, last: str) -> None:
    assert convert_acl(head.encode(), "x").lines == [f"MATCH,{last}"]


def test_older_names_of_sections() -> None:
    assert convert_acl(b"[white_list]\n||a\n[black_list]\n||b\n", "x").lines[:2] == [
        "DOMAIN-SUFFIX,a,PROXY",
        "DOMAIN-SUFFIX,b,DIRECT",
    ]


def test_line_that_is_nothing_is_dropped() -> None:
    assert convert_acl(b"[proxy_list]\n(\n||a..b\n", "x").count("dropped") == 2


def test_damaged_file_is_read_or_refused() -> None:
    for copy in damaged(DATA, 17, 500):
        try:
            assert isinstance(convert_acl(copy, "x"), Conversion)
        except RuleError:
            assert b"\0" in copy
