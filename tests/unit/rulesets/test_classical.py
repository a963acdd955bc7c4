"""Rule lines without a target."""

import random

import pytest

from tunproxy.rules.model import Condition, Position, RuleSetContent
from tunproxy.rules.parse import MAX_HINTS
from tunproxy.rulesets.clash_text import read_text
from tunproxy.rulesets.classical import add_condition, add_names_of_kind


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        ("DOMAIN,A.com", RuleSetContent(exact=["a.com"])),
        ("domain-suffix , a.com", RuleSetContent(suffix=["a.com"])),
        ("DOMAIN-KEYWORD,Ad", RuleSetContent(keyword=["ad"])),
        (r"DOMAIN-REGEX,^a{1,3}\.com$", RuleSetContent(regex=[r"^a{1,3}\.com$"])),
        ("IP-CIDR,1.2.3.0/24", RuleSetContent(ranges=[(4, 0x1020300, 0x10203FF)])),
        ("IP-CIDR6,::1/128", RuleSetContent(ranges=[(6, 1, 1)])),
        (
            "IP-CIDR,1.2.3.0/24,no-resolve",
            RuleSetContent(conditions=[Condition("IP-CIDR", "1.2.3.0/24", ("no-resolve",))]),
        ),
        ("DST-PORT,80/443", RuleSetContent(conditions=[Condition("DST-PORT", "80/443")])),
    ],
)
def test_line_goes_where_it_is_matched_fastest(item: str, wanted: RuleSetContent) -> None:
    content = RuleSetContent()
    assert add_condition(content, item) == ""
    assert content == wanted


def test_logic_keeps_its_children() -> None:
    content = RuleSetContent()
    assert add_condition(content, "AND,((DOMAIN-SUFFIX,a.com),(NETWORK,UDP))") == ""
    assert [child.kind for child in content.conditions[0].children] == ["DOMAIN-SUFFIX", "NETWORK"]


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("DOMIAN,a.com", "did you mean 'DOMAIN'"),
        ("IP-CIDR,1.2.3.4", "no prefix length"),
        ("IP-CIDR,1.2.3.4/40", "prefix length"),
        ("RULE-SET,x", "not allowed"),
        ("SUB-RULE,(DOMAIN,a.com)", "not allowed"),
        ("DOMAIN-SUFFIX,+.a.com", "suffix"),
        ("DOMAIN,a.com.", "dot"),
        ("DOMAIN-KEYWORD,", "matches nothing"),
        ("DST-PORT,70000", "above 65535"),
        ("DOMAIN-REGEX,a(", ""),
        ("", "no rule type"),
    ],
)
def test_bad_line_is_told_and_not_added(item: str, why: str) -> None:
    content = RuleSetContent()
    assert why in add_condition(content, item)
    assert content == RuleSetContent()


def test_after_many_bad_lines_nobody_is_told_what_was_meant() -> None:
    content = RuleSetContent()
    assert add_condition(content, "DOMIAN,a.com") == "unknown rule type 'DOMIAN' (did you mean 'DOMAIN'?)"
    content.skipped.extend([(Position("", 1, 1), "")] * MAX_HINTS)
    assert add_condition(content, "DOMIAN,a.com") == "unknown rule type 'DOMIAN'"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_piece_of_names_of_one_kind_is_taken_whole(end: bytes) -> None:
    content = RuleSetContent(suffix=["first"])
    assert add_names_of_kind(content, b"DOMAIN-SUFFIX,a.com" + end + b"DOMAIN-SUFFIX,b_c-d.org" + end)
    assert add_names_of_kind(content, b"DOMAIN,x.com" + end + b"DOMAIN,y")
    assert content == RuleSetContent(suffix=["first", "a.com", "b_c-d.org"], exact=["x.com", "y"])


def test_pieces_say_what_their_lines_say() -> None:
    chance = random.Random(4)
    words = [
        "a.com",
        "b",
        "A.com",
        ".a",
        "a.",
        "a..b",
        "",
        "a\rb",
        "a b",
        "*.a",
        "a,b",
        "#",
        "x" * 260,
        "\xe4",
        "\r",
    ]
    taken = 0
    for _ in range(4000):
        usual = chance.choice(["DOMAIN-SUFFIX,", "DOMAIN,"])
        count = chance.randrange(1, 5)
        lines = [
            (usual if chance.random() < 0.95 else chance.choice(["DOMAIN,", "domain,", "", "MATCH"]))
            + (chance.choice(words[:2]) if chance.random() < 0.8 else chance.choice(words))
            for _ in range(count)
        ]
        data = (chance.choice(["\n", "\r\n"]).join(lines) + chance.choice(["", "\n", "\n\n"])).encode(
            "latin-1"
        )
        content = RuleSetContent()
        taken += add_names_of_kind(content, data)
        one_by_one = RuleSetContent()
        for line in data.decode("utf-8", "replace").split("\n"):
            if line.strip() and not line.strip().startswith("#") and "\ufffd" not in line:
                add_condition(one_by_one, line.strip())
        whole = read_text(data, "classical", "x")
        assert (whole.suffix, whole.exact) == (one_by_one.suffix, one_by_one.exact)
        assert not (content.suffix or content.exact) or (content.suffix, content.exact) == (
            whole.suffix,
            whole.exact,
        )
    assert taken > 500
