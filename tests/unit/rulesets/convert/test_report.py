"""What a conversion results in."""

from tunproxy.rules.files import parse_rules
from tunproxy.rules.model import Condition
from tunproxy.rulesets.convert.report import (
    APPROXIMATED,
    DROPPED,
    EXACT,
    Conversion,
    rule_line,
)


def test_every_rule_is_in_the_account_once() -> None:
    result = Conversion("a.conf")
    result.add("one", 1, ["DOMAIN,a.b,X"])
    result.add("two", 2, ["DOMAIN,c.d,X"], "nearly")
    result.add("three", 3, ["DOMIAN,a.b,X"])
    result.add("four", 4, ["DOMAIN,a.b,X\nMATCH,Y"])
    result.drop("five", 5, "no way")
    assert [outcome.result for outcome in result.outcomes] == [EXACT, APPROXIMATED, DROPPED, DROPPED, DROPPED]
    assert [result.count(kind) for kind in (EXACT, APPROXIMATED, DROPPED)] == [1, 1, 3]
    assert result.lines == ["DOMAIN,a.b,X", "DOMAIN,c.d,X"]
    assert str(result.outcomes[1]) == "a.conf:2:1: approximated: two: nearly"
    assert "did you mean 'DOMAIN'" in result.outcomes[2].why


def test_rule_file_is_one_with_comments() -> None:
    result = Conversion("a.conf")
    result.add("one", 1, ["DOMAIN,a.b,X"])
    result.add("two\nlines", 2, ["MATCH,X"], "nearly")
    result.drop("three", 3, "no way")
    text = result.rule_file()
    assert text == ("DOMAIN,a.b,X\n# approximated: two lines (nearly)\nMATCH,X\n# dropped: three (no way)\n")
    read = parse_rules(text.encode(), "x")
    assert not read.errors
    assert len(read.rules) == 2


def test_lines_of_conditions() -> None:
    assert (
        rule_line(Condition("IP-CIDR", "1.0.0.0/8", ("no-resolve",)), "X") == "IP-CIDR,1.0.0.0/8,X,no-resolve"
    )
    assert rule_line(Condition("MATCH", ""), "X") == "MATCH,X"
