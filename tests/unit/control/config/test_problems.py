"""Problems read as place, message, line and caret."""

from tunproxy.control.config.problems import ConfigProblems, Problem, did_you_mean, of_rule
from tunproxy.rules.model import Position, RuleError


def test_problem_shows_its_line_with_a_caret_below_the_column() -> None:
    problem = Problem(Position("x.toml", 3, 3), "wrong", "\tab")
    assert str(problem) == "x.toml:3:3: wrong\n     ab\n      ^"


def test_problem_without_a_line_is_one_line() -> None:
    assert str(Problem(Position("x.toml", 1, 1), "wrong")) == "x.toml:1:1: wrong"


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
