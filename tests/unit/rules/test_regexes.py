"""RE2's syntax, read as Go reads it."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.rules.expressions import Backtracking, Linear
from tunproxy.rules.regex_syntax import Reader
from tunproxy.rules.regexes import compile_regex, linear


@pytest.mark.parametrize(
    ("expression", "yes", "no"),
    [
        (r"^a{1,3}\.com$", ["a.com", "AAA.COM"], ["aaaa.com", "a.com\n"]),
        (r"(?i)google", ["www.GooGle.com"], ["gogle"]),
        (r"(?-i)Ab", ["Ab"], ["ab"]),
        (r"a(?-i)B|C", ["AB", "aB", "C"], ["ab", "c"]),
        (r"(a(?-i)B)c", ["ABC"], ["abc"]),
        (r"a{,3}", ["a{,3}"], ["aaa"]),
        (r"x{a}", ["x{a}"], ["xa"]),
        (r"^\d+$", ["0123"], ["١٢٣", ""]),
        (r"^\w\W$", ["a."], ["é.", ".a"]),
        (r"^[\d\-x]$", ["7", "-", "X"], ["y"]),
        (r"^[^\D]$", ["7"], ["a"]),
        (r"^[[:alpha:]_]+$", ["ab_"], ["a1"]),
        (r"^[]a]$", ["]", "a"], ["b"]),
        (r"^[a\]]$", ["]", "a"], ["b"]),
        (r"^[^a]$", ["b", "\n"], ["a", "A"]),
        (r"^[a-]$", ["a", "-"], ["b"]),
        (r"^.$", ["a", "é"], ["\n"]),
        (r"(?s)^.$", ["\n"], [""]),
        (r"(?m)^b$", ["a\nb\nc"], ["ab"]),
        (r"\Aab\z", ["ab"], ["xab", "ab\n"]),
        (r"\bad\b", ["x.ad.y"], ["bad", "adé"[:2] + "s"]),
        (r"a\Bd", ["ad"], ["a.d"]),
        (r"\Qa.b*\E+c", ["a.b**c"], ["axb*c"]),
        (r"^\x41\x{42}\103$", ["ABC", "abc"], ["AB"]),
        (r"^(?P<n>a)(?:b)(?<m>c)$", ["abc"], ["ab"]),
        (r"(?i:A)b", ["ab"], ["b"]),
        (r"(?U)^a+?$", ["aaa"], ["b"]),
        (r"^(|a)b$", ["b", "ab"], ["aab"]),
        (r"(^|\.)ads?\.", ["ads.com", "x.ad.com"], ["bads.com"]),
        (r"a**" [:2], ["", "b"], []),
        (r"^(?:)*x$", ["x"], ["y"]),
        (r"^*x$", ["x", "yx"], ["y"]),
        (r"[^\x00-\x{10FFFF}]", [], ["a", ""]),
        (r"^(?!.*api)(.+\.)?a\.com$", ["www.a.com", "a.com"], ["api.a.com", "x.api.a.com"]),
        (r"a(?=b|c$)", ["ab", "xac"], ["acd", "ad", "a"]),
        (r"(?<=^|\.)ads", ["ads.com", "x.ads"], ["bads"]),
        (r"(?<!a.*)c", ["bc", "cab"], ["abc", "ac"]),
        (r"(?=<x>)", ["<x>"], ["x"]),
        (r"^(?=(?!b)..$)[ab]{2}", ["aa", "ab"], ["ba", "bb", "aab"]),
        (r"(?<=(?<!a)b)c", ["bc", "bbc"], ["abc", "c"]),
        (r"(?=\bx)x(?=\b.)", ["a.x.", "x-"], ["x", "ax."]),
    ],
)  # fmt: skip
def test_expression_finds_what_re2_and_mihomo_find(expression: str, yes: list[str], no: list[str]) -> None:
    compiled = compile_regex(expression)
    assert [text for text in yes if not compiled.found(text)] == []
    assert [text for text in no if compiled.found(text)] == []


@pytest.mark.parametrize("expression", [r"(^|\.)ads[0-9]*\.", r"^.*\.google\.[a-z]+$", r"^a?b?c$"])
def test_ordinary_expression_runs_in_re(expression: str) -> None:
    assert isinstance(compile_regex(expression), Backtracking)


@pytest.mark.parametrize(
    "expression", [r"^(a+)+$", r"^(a|a)*$", r"^(a?){30}a{30}$", r"a*a*a*a*a*a*b", "a?" * 30 + "a" * 30]
)
def test_expression_that_could_take_forever_takes_linear_time(expression: str) -> None:
    compiled = compile_regex(expression)
    assert isinstance(compiled, Linear)
    began = time.process_time()
    compiled.found("a" * 250 + "!")
    assert time.process_time() - began < 5


LEAVES = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "^", "$", r"\b", r"\.", "a.", r"\d"])
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(st.sampled_from(["?=", "?!"]), inner).map(lambda p: f"({p[0]}{p[1]})"),
        st.tuples(st.sampled_from(["?<=", "?<!"]), st.sampled_from(["a", "b.", "^", "a|b", r"\b."])).map(
            lambda p: f"({p[0]}{p[1]})"
        ),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,}"])).map(
            lambda p: f"(?:{p[0]}){p[1]}"
        ),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS, st.text(alphabet="abAB.7", max_size=8))
def test_both_engines_agree_with_python(expression: str, text: str) -> None:
    expected = re.search(expression.replace("$", r"\Z"), text, re.IGNORECASE | re.ASCII) is not None
    tree = Reader(expression).read()
    assert linear(tree).found(text) == expected
    assert compile_regex(expression).found(text) == expected
