"""Rule lines: Clash's grammar with its quirks, and errors with their place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.rules.facts import Always, Matcher
from tunproxy.rules.kinds import KINDS, Kind
from tunproxy.rules.model import Condition, Position, RuleError
from tunproxy.rules.parse import parse_condition, parse_rule

HERE = Position("x.rules", 7, 1)


@pytest.mark.parametrize(
    ("line", "kind", "payload", "target", "params"),
    [
        ("DOMAIN,a.com,A", "DOMAIN", "a.com", "A", ()),
        (" domain-suffix ,  a.com , A ", "DOMAIN-SUFFIX", "a.com", "A", ()),
        ("MATCH,A", "MATCH", "", "A", ()),
        ("IP-CIDR,10.0.0.0/8,A,no-resolve", "IP-CIDR", "10.0.0.0/8", "A", ("no-resolve",)),
        ("IP-CIDR,10.0.0.0/8,A,src,no-resolve", "IP-CIDR", "10.0.0.0/8", "A", ("src", "no-resolve")),
        (r"DOMAIN-REGEX,^a{1,3}\.com$,A", "DOMAIN-REGEX", r"^a{1,3}\.com$", "A", ()),
        ("PROCESS-PATH-REGEX,a, b,A", "PROCESS-PATH-REGEX", "a,b", "A", ()),
        ("DST-PORT,80/443/1000-2000,A", "DST-PORT", "80/443/1000-2000", "A", ()),
        ("NETWORK,icmp,A", "NETWORK", "icmp", "A", ()),
        ("DSCP,4-6/8,A", "DSCP", "4-6/8", "A", ()),
        ("UNIT,firefox.service,A", "UNIT", "firefox.service", "A", ()),
        ("TIME,mon-fri 08:00-18:00,A", "TIME", "mon-fri 08:00-18:00", "A", ()),
        ("DOMAIN,a.com,A b", "DOMAIN", "a.com", "A b", ()),
        ("DOMAIN,a.com,A,", "DOMAIN", "a.com", "A", ()),
    ],
)
def test_line_has_kind_payload_target_and_params(
    line: str, kind: str, payload: str, target: str, params: tuple[str, ...]
) -> None:
    rule = parse_rule(line, HERE)
    assert (rule.condition.kind, rule.condition.payload, rule.target) == (kind, payload, target)
    assert rule.condition.params == params
    assert rule.text == line
    assert rule.position == HERE


def test_logic_takes_nested_conditions_with_blanks_and_params() -> None:
    line = (
        r"AND,( (DOMAIN-SUFFIX, a.com) ,(NOT,((IP-CIDR,1.0.0.0/8,no-resolve))), (DOMAIN-REGEX,^(a|b),c\.d)),A"
    )
    condition = parse_rule(line, HERE).condition
    assert condition.children == (
        Condition("DOMAIN-SUFFIX", "a.com"),
        Condition(
            "NOT",
            "((IP-CIDR,1.0.0.0/8,no-resolve))",
            (),
            (Condition("IP-CIDR", "1.0.0.0/8", ("no-resolve",)),),
        ),
        Condition("DOMAIN-REGEX", r"^(a|b),c\.d"),
    )


def test_escaped_parenthesis_in_a_nested_expression_is_text() -> None:
    condition = parse_rule(r"OR,((DOMAIN-REGEX,a\)b),(NETWORK,udp)),A", HERE).condition
    assert [child.payload for child in condition.children] == [r"a\)b", "udp"]


def test_sub_rule_takes_one_condition_and_names_a_list() -> None:
    rule = parse_rule("SUB-RULE,(AND,((NETWORK,tcp),(DST-PORT,80))),web", HERE)
    assert rule.target == "web"
    assert [child.kind for child in rule.condition.children] == ["AND"]


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("DOMIAN,a.com,A", 1, "unknown rule type 'DOMIAN' (did you mean 'DOMAIN'?)"),
        ("- DOMAIN,a.com,A", 1, "a rule has no '- ' in front, as YAML has (leave it out)"),
        ("DOMAIN a.com A", 1, "unknown rule type 'DOMAIN a.com A' (write TYPE,PAYLOAD,TARGET)"),
        ("DOMAIN;a.com;A", 1, "unknown rule type 'DOMAIN;a.com;A' (write TYPE,PAYLOAD,TARGET)"),
        ("FINAL,A", 1, "unknown rule type 'FINAL' (did you mean 'MATCH'?)"),
        ("DST-PORT,80,443,A", 13, "'443' in place of the target (write DST-PORT,80/443)"),
        ("UID,1, 2-5 ,9,A", 8, "'2-5' in place of the target (write UID,1/2-5/9)"),
        ("DST-PORT,80,A,443", 15, "unknown parameter '443' (there are: no-resolve, src, observe)"),
        ("DOMAIN-SET,x,A", 1, "unknown rule type 'DOMAIN-SET' (did you mean 'RULE-SET'?)"),
        ("  ,a,A", 3, "no rule type (write TYPE,PAYLOAD,TARGET)"),
        ("DOMAIN,a.com", 13, "no target (write DOMAIN,PAYLOAD,TARGET)"),
        ("DOMAIN", 7, "no target (write DOMAIN,PAYLOAD,TARGET)"),
        ("AND,((NETWORK,tcp))", 20, "no target (write AND,PAYLOAD,TARGET)"),
        ("MATCH", 6, "no target (write MATCH,TARGET)"),
        ("MATCH,", 7, "no target (write MATCH,TARGET)"),
        (
            "IP-CIDR,10.0.0.0/8,no-resolve,A",
            20,
            "'no-resolve' in place of the target (it comes after the target)",
        ),
        (
            "IP-CIDR,10.0.0.0/8,A, no-resolv",
            23,
            "unknown parameter 'no-resolv' (did you mean 'no-resolve'?)",
        ),
        ("IP-CIDR,1.2.3.4,A", 9, "'1.2.3.4' has no prefix length (write 1.2.3.4/32)"),
        ("IP-CIDR,1.2.3.4/33,A", 9, "prefix length '33' is not within 0 to 32"),
        ("IP-CIDR,1.2.3.4/255.0.0.0,A", 9, "prefix length '255.0.0.0' is not within 0 to 32"),
        ("IP-CIDR,1.0.0.0-2.0.0.0,A", 9, "'1.0.0.0-2.0.0.0' is no address with a prefix length"),
        ("IP-SUFFIX,8.8/16,A", 11, "'8.8/16' is no address with a prefix length"),
        ("IP-ASN,AS13335,A", 8, "'AS13335' is no number of an autonomous system (write 13335)"),
        ("DST-PORT,80,443", None, None),  # a target called 443: nothing a line alone can tell
        ("DST-PORT,80-x,A", 10, "'80-x' is neither a number nor a range like 1000-2000"),
        ("DSCP,64,A", 6, "'64' is not within 0 to 63"),
        ("NETWORK,sctp,A", 9, "unknown network 'sctp' (tcp, udp, icmp)"),
        ("IN-TYPE,SOCKS/FOO,A", 9, "unknown inbound type 'FOO' (such as TUN, SOCKS, HTTP)"),
        ("DOMAIN-REGEX,a(?>b),A", 15, "bad expression 'a(?>b)': an atomic group is not part of RE2"),
        ("DOMAIN,,A", 8, "payload is empty"),
        ("AND,((DOMAIN-SUFFIX, ),(NETWORK,tcp)),A", 22, "payload is empty"),
        ("IP-CIDR,1.2.3.4/08,A", 9, "prefix length '08' is not within 0 to 32"),
        ("TIME,25:00-26:00,A", 6, "'25:00-26:00' is outside 00:00-24:00"),
        ("NOT,(NETWORK,tcp),A", 6, "NOT wants a condition in parentheses here"),
        ("NOT,((NETWORK,tcp),(NETWORK,udp)),A", 5, "NOT takes exactly one condition, not 2"),
        ("SUB-RULE,((NETWORK,tcp)),A", 11, "unknown rule type '(NETWORK' (did you mean 'NETWORK'?)"),
        ("AND,(),A", 6, "AND wants a condition in parentheses here"),
        (
            "AND,NETWORK,tcp,A",
            5,
            "AND wants its conditions in parentheses (write AND,((TYPE,PAYLOAD)),TARGET)",
        ),
        ("OR,((NETWORK,tcp)(NETWORK,udp)),A", 18, "expected ',' or ')'"),
        ("OR,((NETWORK,tcp),(NETWORK,udp),A", 19, "'(' without ')'"),
        ("OR,((MATCH)),A", 6, "MATCH is not allowed here"),
        ("OR,((SUB-RULE,(NETWORK,tcp))),A", 6, "SUB-RULE is not allowed here"),
        ("OR,((NETWORK,tcp), (DOMAN,x)),A", 21, "unknown rule type 'DOMAN' (did you mean 'DOMAIN'?)"),
        ("OR,((NETWORK)),A", 13, "no payload (write NETWORK,PAYLOAD)"),
    ],
)
def test_mistake_is_told_with_its_column(line: str, column: int | None, message: str | None) -> None:
    if message is None:
        parse_rule(line, HERE)
        return
    with pytest.raises(RuleError) as raised:
        parse_rule(line, HERE)
    assert str(raised.value) == f"x.rules:7:{column}: {message}"


def test_condition_in_a_set_has_params_and_no_target() -> None:
    assert parse_condition("IP-CIDR,10.0.0.0/8,no-resolve", HERE) == Condition(
        "IP-CIDR", "10.0.0.0/8", ("no-resolve",)
    )


@pytest.mark.parametrize("line", ["MATCH", "RULE-SET,x", "SUB-RULE,(NETWORK,tcp)"])
def test_condition_in_a_set_is_no_reference(line: str) -> None:
    with pytest.raises(RuleError, match="not allowed here"):
        parse_condition(line, HERE)


@given(
    st.lists(
        st.sampled_from([*KINDS, "a.com", "1.0.0.0/8", "(", ")", "((", "))", ",", "\\", " ", "80", "é", "A"])
    )
)
def test_any_text_is_a_rule_or_an_error_with_a_column_within_it(parts: list[str]) -> None:
    line = ",".join(parts)
    assert 1 <= column_of_mistake(line) <= len(line) + 1


def column_of_mistake(line: str) -> int:
    """Return where the first mistake is, 1 if there is none."""
    try:
        parse_rule(line, HERE)
    except RuleError as error:
        return error.position.column
    return 1


def test_depth_of_conditions_is_limited() -> None:
    with pytest.raises(RuleError, match="nest deeper"):
        parse_rule("NOT,((" * 40 + "NETWORK,tcp" + "))" * 40 + ",A", HERE)


class Custom:
    """A kind of rule that is not built in: its payload is a number."""

    kind = Kind(int)

    def matcher(self, payload: str) -> Matcher:
        return Always()


def test_kind_that_is_not_built_in_is_read_like_the_others() -> None:
    custom = {"MOON-DAY": Custom()}
    rule = parse_rule("moon-day, 7 ,A", HERE, custom)
    assert rule.condition == Condition("MOON-DAY", "7")
    nested = parse_rule("NOT,((MOON-DAY,7)),A", HERE, custom)
    assert nested.condition.children == (Condition("MOON-DAY", "7"),)
    for line, column, message in (
        ("MOON-DAY,x,A", 10, "invalid literal"),
        ("MOON-DYA,7,A", 1, "did you mean 'MOON-DAY'"),
        ("MOON-DAY,7", 11, "no target"),
        ("MOON-DAY,7,A,nonsense", 14, "unknown parameter"),
    ):
        with pytest.raises(RuleError, match=message) as raised:
            parse_rule(line, HERE, custom)
        assert raised.value.position.column == column
    with pytest.raises(RuleError, match="unknown rule type"):
        parse_rule("MOON-DAY,7,A", HERE)


@pytest.mark.parametrize(
    ("line", "payload", "target", "params"),
    [
        ("DOMAIN,a.com,A,observe", "a.com", "A", ()),
        ("IP-CIDR,10.0.0.0/8,A,observe,no-resolve", "10.0.0.0/8", "A", ("no-resolve",)),
        ("MATCH,A,observe", "", "A", ()),
        (r"DOMAIN-REGEX,^a{1,3}$,A,observe", r"^a{1,3}$", "A", ()),
        ("AND,((DOMAIN,a.com),(UID,0)),A,observe", "((DOMAIN,a.com),(UID,0))", "A", ()),
        ("SUB-RULE,(DOMAIN,a.com),A,observe", "(DOMAIN,a.com)", "A", ()),
    ],
)
def test_rule_of_any_type_may_only_count(
    line: str, payload: str, target: str, params: tuple[str, ...]
) -> None:
    rule = parse_rule(line, HERE)
    assert rule.observe
    assert (rule.condition.payload, rule.target, rule.condition.params) == (payload, target, params)
    assert rule.text == line


@pytest.mark.parametrize(
    "line",
    ["DOMAIN,a.com,observe", "DOMAIN-REGEX,a,observe", "NOT,((DOMAIN,a.com)),observe", "MATCH,observe"],
)
def test_word_in_place_of_the_target_is_a_target(line: str) -> None:
    rule = parse_rule(line, HERE)
    assert (rule.target, rule.observe) == ("observe", False)


def test_condition_of_a_set_cannot_only_count() -> None:
    with pytest.raises(RuleError, match="unknown parameter 'observe'"):
        parse_condition("DOMAIN,a.com,observe", HERE)


def test_target_may_be_a_number() -> None:
    for line in (
        "DST-PORT,80,443",
        "DST-PORT,80,443,src",
        "DST-PORT,80,443,observe",
        "DOMAIN,7,8,no-resolve",
    ):
        assert parse_rule(line, HERE).target in ("443", "8")
