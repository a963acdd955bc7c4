"""What items are, by behavior."""

import pytest

from tunproxy.rules.model import RuleError, RuleSetContent
from tunproxy.rulesets.behaviors import add_item, add_names, check_behavior


def test_item_goes_where_its_behavior_says() -> None:
    content = RuleSetContent()
    assert add_item(content, "+.a.com", "domain") == ""
    assert add_item(content, "10.0.0.0/8", "ipcidr") == ""
    assert add_item(content, "DOMAIN,b.com", "classical") == ""
    assert content == RuleSetContent(
        suffix=["a.com"], ranges=[(4, 10 << 24, (11 << 24) - 1)], exact=["b.com"]
    )


@pytest.mark.parametrize("behavior", ["domain", "ipcidr", "classical"])
def test_unreadable_item_is_told(behavior: str) -> None:
    assert "no UTF-8" in add_item(RuleSetContent(), "a\ufffd.com", behavior)


def test_many_names_are_all_or_none() -> None:
    content = RuleSetContent()
    assert add_names(content, ["a", "+.b", ".c"])
    assert content == RuleSetContent(exact=["a"], suffix=["b"], below=["c"])
    for bad in ("*.d", "+.*.d", "x" * 254):
        assert not add_names(content, ["e", "+.f", bad])
        assert not add_names(content, ["+.f", "+." + bad])
    assert content == RuleSetContent(exact=["a"], suffix=["b"], below=["c"])


def test_unknown_behavior_is_an_error() -> None:
    with pytest.raises(RuleError, match=r"unknown behavior 'names' \(known: domain, ipcidr, classical\)"):
        check_behavior("names", "x")
