"""One pattern of an AdGuard list."""

import pytest

from tests.unit.rulesets.flows import To, holds
from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.adguard_pattern import add_adguard


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("||A.com^", RuleSetContent(suffix=["a.com"])),
        ("|a.com^", RuleSetContent(exact=["a.com"])),
        ("|a.com|", RuleSetContent(exact=["a.com"])),
        ("ads", RuleSetContent(keyword=["ads"])),
        (".ads.", RuleSetContent(keyword=[".ads."])),
    ],
)
def test_plain_patterns_need_no_expression(pattern: str, wanted: RuleSetContent) -> None:
    content = RuleSetContent()
    assert add_adguard(content, pattern) == ""
    assert content == wanted


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("a.com^", "xa.com", "a.com.org"),
        ("||a.com", "x.a.com.org", "xa.com"),
        ("|a.com", "a.com.org", "x.a.com"),
        ("||ad*.com^", "x.adserver.com", "bad.com"),
        ("*.a.com^", "x.a.com", "a.com"),
        ("||ads.", "ads.x", "adsx"),
        ("ad*x", "an.ad.for.x", "x.ad"),
        ("||a.com*", "a.community", "b.a.co"),
    ],
)
def test_pattern_is_met(pattern: str, inside: str, outside: str) -> None:
    content = RuleSetContent()
    assert add_adguard(content, pattern) == ""
    assert holds(content, To(inside))
    assert not holds(content, To(outside))


@pytest.mark.parametrize("pattern", ["", "||", "|^", "*", "||*^", "a b", "a/b", "||a..b^", "a#b"])
def test_pattern_of_nothing_or_of_no_name_is_told(pattern: str) -> None:
    content = RuleSetContent()
    assert add_adguard(content, pattern)
    assert content == RuleSetContent()
