"""The plain data of rules."""

from tunproxy.errors import ConfigError
from tunproxy.rules.model import Position, RuleError, RuleErrors


def test_error_reads_file_line_column_message_and_suggestion() -> None:
    error = RuleError(Position("home.rules", 12, 3), "unknown rule type 'DOMIAN'", "DOMAIN")
    assert str(error) == "home.rules:12:3: unknown rule type 'DOMIAN' (did you mean 'DOMAIN'?)"
    assert isinstance(error, ConfigError)


def test_position_in_no_file_has_no_name_in_front() -> None:
    assert str(RuleError(Position("", 1, 2), "no target")) == "1:2: no target"


def test_several_errors_read_as_a_line_each() -> None:
    errors = [RuleError(Position("a", line, 1), "no target") for line in (1, 2)]
    assert str(RuleErrors(errors)).splitlines() == ["a:1:1: no target", "a:2:1: no target"]
