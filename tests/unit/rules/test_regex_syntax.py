"""What RE2 does not have, and any other mistake, is an error with its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.rules.regex_syntax import RegexError
from tunproxy.rules.regexes import compile_regex


@pytest.mark.parametrize(
    ("expression", "at", "message"),
    [
        ("a(?=b", 1, "'(' without ')'"),
        ("(?<!a", 0, "'(' without ')'"),
        ("(?<a", 0, "unknown kind of group"),
        ("(?>a)", 0, "an atomic group is not part of RE2"),
        (r"(a)\1", 3, "a back-reference is not part of RE2"),
        (r"(?P<x>a)(?P=x)", 8, "a back-reference is not part of RE2"),
        (r"\pL", 0, "Unicode classes are not supported"),
        (r"\y", 0, r"unknown escape '\y'"),
        (r"a\Z", 1, r"unknown escape '\Z'"),
        ("a++", 2, "repetition of the repetition 'a+'"),
        ("a**", 2, "repetition of the repetition 'a*'"),
        ("a{2}{3}", 4, "repetition of the repetition 'a{2}'"),
        ("*a", 0, "nothing to repeat before '*'"),
        ("a|+", 2, "nothing to repeat before '+'"),
        ("({2})", 1, "nothing to repeat before '{'"),
        ("a{1001}", 1, "count {1001} is not within 0 to 1000"),
        ("a{3,2}", 1, "count {3,2} is not within 0 to 1000"),
        ("(a", 0, "'(' without ')'"),
        ("a)", 1, "')' without '('"),
        ("[a", 0, "'[' without ']'"),
        ("[b-a]", 1, "range 'b-a' is the wrong way round"),
        ("[[:foo:]]", 1, "unknown class '[:foo:]'"),
        ("(?z)a", 0, "unknown kind of group"),
        ("(?P<a>x)(?P<a>y)", 8, "second group called 'a'"),
        ("a\\", 1, "backslash at the end"),
        ("((((a{1000}){1000}))))", 21, "')' without '('"),
        ("(a{1000}){1000}", 0, "expression is too large with its counts written out"),
        ("a" * 1001, 1000, "expression of 1001 characters is too long (at most 1000)"),
        ("(" * 200 + ")" * 200, 100, "groups nest too deep"),
    ],
)
def test_what_re2_does_not_have_is_an_error_with_its_place(expression: str, at: int, message: str) -> None:
    with pytest.raises(RegexError) as raised:
        compile_regex(expression)
    assert (str(raised.value), raised.value.at) == (message, at)


@given(st.text(alphabet=r"ab()[]{}|*+?\^$.-,:<>=!12dPQEx", max_size=20))
def test_any_text_is_an_expression_or_an_error(expression: str) -> None:
    assert 0 <= place_of_mistake(expression) <= len(expression)


def place_of_mistake(expression: str) -> int:
    """Return where the first mistake is, 0 if there is none."""
    try:
        compile_regex(expression).found("ab.1")
    except RegexError as error:
        return error.at
    return 0
