"""The engine of linear time; what expressions find is tested with their syntax."""

from tunproxy.rules.regexes import compile_regex


def test_searches_do_not_remember_each_other() -> None:
    expression = compile_regex("^(a+b)+$")
    assert [expression.found(text) for text in ("aab", "ba", "aabab", "aab")] == [True, False, True, True]
