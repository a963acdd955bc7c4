"""Words, patterns and expressions."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.rulebook import flow, matches
from tunproxy.rules.texts import like


@given(st.text(alphabet="ab.", max_size=8), st.text(alphabet="ab*?", max_size=6))
def test_pattern_is_any_run_and_any_one_character(text: str, pattern: str) -> None:
    expression = pattern.replace("*", ".*").replace("?", ".")
    assert like(text, pattern) == (re.fullmatch(expression, text) is not None)


def test_pattern_with_many_stars_takes_no_exponential_time() -> None:
    assert not like("a" * 2000, "*a" * 50 + "b")


@pytest.mark.parametrize(
    ("line", "host", "expected"),
    [
        ("DOMAIN,A.com,A", "a.com", True),
        ("DOMAIN,a.com,A", "b.a.com", False),
        ("DOMAIN,bücher.de,A", "xn--bcher-kva.de", True),
        ("DOMAIN-SUFFIX,A.com,A", "b.a.com", True),
        ("DOMAIN-SUFFIX,a.com,A", "a.com", True),
        ("DOMAIN-SUFFIX,a.com,A", "ba.com", False),
        ("DOMAIN-SUFFIX,+.a.com,A", "b.a.com", False),
        ("DOMAIN-SUFFIX,a.com.,A", "a.com", False),
        ("DOMAIN-KEYWORD,GOO,A", "a.google.com", True),
        ("DOMAIN-WILDCARD,*.a?c.com,A", "x.y.abc.com", True),
        ("DOMAIN-WILDCARD,*.a?c.com,A", "abc.com", False),
        (r"DOMAIN-REGEX,^A{1,2}\.com$,A", "aa.com", True),
        ("DOMAIN,straße.de,A", "xn--strae-oqa.de", True),
        (r"DOMAIN-REGEX,.*,A", "", True),  # no name is the empty name, for mihomo as well
        ("DOMAIN-REGEX,.,A", "", False),
        ("DOMAIN-WILDCARD,*,A", "", True),
        ("DOMAIN-WILDCARD,?*,A", "", False),
        ("NOT,((DOMAIN,a.com)),A", "", True),
    ],
)
def test_name_meets_rule(line: str, host: str, expected: bool) -> None:
    assert matches(line, flow(host)) == expected
    # The same where no index stands in for the condition.
    alone = line.removesuffix(",A")
    assert matches(f"AND,(({alone})),A", flow(host)) == expected


@pytest.mark.parametrize(
    ("line", "field", "value", "expected"),
    [
        ("PROCESS-NAME,Curl,A", "process_name", "curl", True),
        ("PROCESS-NAME,curl,A", "process_name", "curl2", False),
        ("PROCESS-NAME,curl,A", "process_name", None, False),
        ("PROCESS-NAME-WILDCARD,c*l,A", "process_name", "CURL", True),
        ("PROCESS-NAME-REGEX,^(curl|wget)$,A", "process_name", "wget", True),
        ("PROCESS-PATH,/usr/bin/curl,A", "process_path", "/usr/bin/curl", True),
        ("PROCESS-PATH-WILDCARD,/usr/*,A", "process_path", "/usr/bin/curl", True),
        ("PROCESS-PATH-REGEX,^/opt/,A", "process_path", "/usr/bin/curl", False),
        ("APP,org.mozilla.Firefox,A", "app", "org.mozilla.firefox", True),
        ("APP,org.mozilla.*,A", "app", "org.gnome.Maps", False),
        ("NETWORK,UDP,A", "network", "udp", True),
        ("NETWORK,icmp,A", "network", "tcp", False),
        ("IN-TYPE,SOCKS/INNER,A", "in_type", "SOCKS5", True),
        ("IN-TYPE,SOCKS,A", "in_type", "HTTP", False),
        ("IN-USER,a/b,A", "in_user", "b", True),
        ("IN-NAME,x/y,A", "in_name", "", False),
        ("REMATCH-NAME,x,A", "rematch_name", "x", True),
    ],
)
def test_text_of_the_flow_meets_rule(line: str, field: str, value: str | None, expected: bool) -> None:
    assert matches(line, flow(**{field: value})) == expected
