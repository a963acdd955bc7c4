"""Problems read as place, message, line and caret."""

from tunproxy.control.config.problems import SHOWN, TOLD, ConfigProblems, Problem, did_you_mean, of_rule
from tunproxy.rules.model import Position, RuleError


def test_problem_shows_its_line_with_a_caret_below_the_column() -> None:
    problem = Problem(Position("x.toml", 3, 3), "wrong", "\tab")
    assert str(problem) == "x.toml:3:3: wrong\n     ab\n      ^"


def test_problem_without_a_line_is_one_line() -> None:
    assert str(Problem(Position("x.toml", 1, 1), "wrong")) == "x.toml:1:1: wrong"


def test_long_line_is_shown_around_the_place() -> None:
    line = "a" * 5000 + "X" + "b" * 5000
    head, shown, caret = str(Problem(Position("x.toml", 1, 5001), "wrong", line)).split("\n")
    assert head == "x.toml:1:5001: wrong"
    assert len(shown) == 4 + SHOWN + 2
    assert shown[caret.index("^")] == "X"
    assert shown.endswith("b…")
    assert shown.startswith("    …a")
    _, shown, caret = str(Problem(Position("x.toml", 1, 1), "wrong", line)).split("\n")
    assert (shown[4:6], caret) == ("aa", "    ^")
    _, shown, caret = str(Problem(Position("x.toml", 1, 10_002), "ends too early", line)).split("\n")
    assert (len(caret), shown[-1]) == (len(shown) + 1, "b")


def test_caret_is_where_the_shown_line_has_it() -> None:
    """The place is the file's; the line has lost something in front of it."""
    problem = Problem(Position("x.toml", 3, 30), "wrong", "key = ***, b", 12)
    assert str(problem) == "x.toml:3:30: wrong\n    key = ***, b\n               ^"


def test_what_a_terminal_would_act_on_is_not_shown() -> None:
    assert "\x1b" not in str(Problem(Position("x.toml", 1, 1), "wrong", "\x1b]0;title\x07"))


def test_problems_are_told_in_the_order_of_the_file() -> None:
    error = ConfigProblems([Problem(Position("x", line, 1), f"at {line}") for line in (12, 2)])
    assert str(error) == "cannot use the configuration: 2 problems\nx:2:1: at 2\nx:12:1: at 12"
    assert str(ConfigProblems(error.problems[:1])).startswith("cannot use the configuration: 1 problem\n")


def test_rule_error_keeps_its_suggestion_and_gets_its_line() -> None:
    error = RuleError(Position("r", 2, 1), "unknown", "DOMAIN")
    problem = of_rule(error, ["one", "two"])
    assert (problem.message, problem.line) == ("unknown (did you mean 'DOMAIN'?)", "two")
    assert of_rule(error, ["one"]).line == ""


def test_hint_names_what_was_meant_or_all_there_is() -> None:
    assert did_you_mean("servr", ["server", "port"]) == " (did you mean 'server'?)"
    assert did_you_mean("x", ["server", "port"]) == " (there are: port, server)"
    assert did_you_mean("x", []) == ""
    assert did_you_mean("SOCKS5", ["http", "socks5"]) == " (did you mean 'socks5'?)"
    assert did_you_mean("DIRCT", ["DIRECT", "direct"]) == " (did you mean 'DIRECT'?)"
    assert did_you_mean("username", ["server-name", "user"]) == " (did you mean 'user'?)"
    assert (
        did_you_mean("fake-ip-mode", ["fake-ip-file", "fake-ip-range"]) == " (did you mean 'fake-ip-file'?)"
    )


def test_of_very_many_problems_the_first_are_told_and_the_rest_counted() -> None:
    error = ConfigProblems([Problem(Position("x", line, 1), "wrong") for line in range(5000, 0, -1)])
    lines = str(error).split("\n")
    assert lines[0] == "cannot use the configuration: 5000 problems"
    assert lines[1:-1] == [f"x:{line}:1: wrong" for line in range(1, TOLD + 1)]
    assert lines[-1] == f"… and {5000 - TOLD:,} more"
    assert len(error.problems) == 5000
