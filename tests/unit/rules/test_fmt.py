"""One way to write rules."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.rulebook import rules
from tunproxy.rules.files import parse_rules
from tunproxy.rules.fmt import format_line, format_rules

MESSY = """\
\ufeff
# Work

 domain-suffix , Example.COM , A   # the office


AND,( (network, TCP),(NOT,((dst-port,80))) ),A
ip-cidr,10.0.0.0/8,A,src,no-resolve
SUB-RULE,( DOMAIN , a.com ),web
DOMIAN,x,A   \t
DOMAIN-REGEX,^a{1, 3}$,A
match , B
"""


def test_comments_stay_and_rules_are_in_one_form() -> None:
    assert format_rules(MESSY) == (
        "# Work\n"
        "\n"
        "DOMAIN-SUFFIX,example.com,A  # the office\n"
        "\n"
        "AND,((NETWORK,tcp),(NOT,((DST-PORT,80)))),A\n"
        "IP-CIDR,10.0.0.0/8,A,no-resolve,src\n"
        "SUB-RULE,(DOMAIN,a.com),web\n"
        "DOMIAN,x,A\n"
        "DOMAIN-REGEX,^a{1,3}$,A\n"
        "MATCH,B\n"
    )


def test_formatting_twice_is_formatting_once() -> None:
    assert format_rules(format_rules(MESSY)) == format_rules(MESSY)


def test_rules_mean_what_they_meant() -> None:
    before = parse_rules(MESSY.encode()).rules
    after = parse_rules(format_rules(MESSY).encode()).rules
    assert [(rule.condition.kind, rule.target) for rule in before] == [
        (rule.condition.kind, rule.target) for rule in after
    ]


@given(st.text(max_size=40))
def test_any_text_formats_to_what_formats_to_itself(text: str) -> None:
    once = format_rules(text)
    assert format_rules(once) == once


def test_line_that_is_no_rule_stays() -> None:
    assert format_line("nonsense, here  # why ") == "nonsense, here  # why"
    assert rules(format_line("MATCH,A#1"))[0].target == "A#1"


def test_word_that_has_a_rule_only_count_comes_last() -> None:
    assert format_line("ip-cidr,10.0.0.0/8,A,observe,src") == "IP-CIDR,10.0.0.0/8,A,src,observe"
    assert format_line("match , B, observe") == "MATCH,B,observe"
    assert format_line("not,((domain,a.com)), A , observe") == "NOT,((DOMAIN,a.com)),A,observe"
