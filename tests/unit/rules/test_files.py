"""Rule files: comments, line ends, encodings, and all errors at once."""

from pathlib import Path

import pytest

from tests.unit.rules.rulebook import read
from tunproxy.rules.files import parse_rules
from tunproxy.rules.fmt import format_rules
from tunproxy.rules.lint import lint
from tunproxy.rules.parse import MAX_HINTS

RULES = Path(__file__).resolve().parents[3] / "rules"
SHIPPED = sorted(RULES.glob("*.rules"))


def test_comments_and_blank_lines_are_no_rules() -> None:
    file = read("# all", "", "  DOMAIN,a.com,A   # work", "\t", "DOMAIN,b#c.com,A", "MATCH,B")
    assert [rule.text for rule in file.rules] == ["DOMAIN,a.com,A", "DOMAIN,b#c.com,A", "MATCH,B"]
    assert [(rule.position.line, rule.position.column) for rule in file.rules] == [(3, 3), (5, 1), (6, 1)]


def test_crlf_and_byte_order_mark_are_passed_over() -> None:
    file = parse_rules(b"\xef\xbb\xbfDOMAIN,a.com,A\r\nMATCH,B\r\n")
    assert [rule.text for rule in file.rules] == ["DOMAIN,a.com,A", "MATCH,B"]
    assert not file.errors


def test_every_mistake_of_a_file_is_told() -> None:
    file = read("DOMIAN,a.com,A", "DOMAIN,b.com,A", "IP-CIDR,x,A", "MATCH")
    assert [error.position.line for error in file.errors] == [1, 3, 4]
    assert [rule.text for rule in file.rules] == ["DOMAIN,b.com,A"]


def test_octet_that_is_not_utf_8_has_a_place_and_the_file_goes_on() -> None:
    file = parse_rules("DOMAIN,bü".encode() + b"\xff.com,A\nMATCH,A", "f")
    assert str(file.errors[0]) == "f:1:10: octet 0xff is not UTF-8 (save the file as UTF-8)"
    assert len(file.rules) == 1


def test_line_is_shown_with_a_caret_below_the_mistake() -> None:
    file = read("MATCH,A", "IP-CIDR,1.2.3.4,A")
    assert file.show(file.errors[0].position) == "    IP-CIDR,1.2.3.4,A\n            ^"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("DOMAIN-SUFFIX,+.a.com,A", "a suffix has no '+.' in front"),
        ("DOMAIN-SUFFIX,a.com.,A", "without the dot at the end"),
        ("DOMAIN,*.a.com,A", "only DOMAIN-WILDCARD understands"),
        ("DST-PORT,70000,A", "'70000' is above 65535"),
        ("NOT,((DST-PORT,70000)),A", "'70000' is above 65535"),
        ("PROCESS-NAME,/usr/bin/curl,A", "use PROCESS-PATH"),
        ("PROCESS-PATH,curl,A", "use PROCESS-NAME"),
        ("DOMAIN,a.com,A,no-resolve", "'no-resolve' changes nothing about DOMAIN"),
        ("IP-CIDR,1.0.0.0/8,A,force-remote-dns", "'force-remote-dns' changes nothing"),
    ],
)
def test_rule_that_is_hardly_meant_is_kept_with_a_warning(line: str, message: str) -> None:
    file = read(line)
    assert len(file.rules) == 1
    assert not file.errors
    assert message in str(file.warnings[0])


@pytest.mark.parametrize(
    "line", ["DST-PORT,443/70000,A", "DOMAIN-SUFFIX,com,A", "MATCH,A", "DOMAIN,bücher.de,A"]
)
def test_ordinary_rule_has_no_warning(line: str) -> None:
    assert not read(line).warnings


def test_mistake_is_told_with_the_name_of_its_file() -> None:
    assert str(parse_rules(b"MATCH,A\nMATCHY,A\n", "home.rules").errors[0]).startswith("home.rules:2:1: ")


def test_line_of_absurd_length_is_an_error() -> None:
    assert "at most" in str(read("DOMAIN," + "a" * 20_000 + ",A").errors[0])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_rules_are_formatted_and_there_is_nothing_to_say_about_them(path: Path) -> None:
    file = parse_rules(path.read_bytes(), path.name)
    assert file.rules
    assert not file.errors
    assert not lint(file.rules, [], [])
    assert format_rules(path.read_text()) == path.read_text()


def test_shipped_rules_are_all_named_where_rules_are_taught() -> None:
    assert [path.name for path in SHIPPED if f"({path.name})" not in (RULES / "README.md").read_text()] == []
    assert len(SHIPPED) >= 2


def test_lines_of_the_readme_are_rules() -> None:
    example = (RULES / "README.md").read_text().split("```")[1]
    file = parse_rules(example.encode())
    assert len(file.rules) == 5
    assert not file.errors


def test_after_many_mistakes_nobody_is_told_what_was_meant() -> None:
    file = read(*(f"DOMIAN,{number}.com,A" for number in range(MAX_HINTS + 5)))
    meant = [error.suggestion for error in file.errors]
    assert meant == ["DOMAIN"] * MAX_HINTS + [""] * 5


def test_file_may_say_that_its_rules_only_count() -> None:
    file = parse_rules(b"# try it\n  # tunproxy: observe\n\nDOMAIN,a.com,A\nMATCH,B # last\n", "x.rules")
    assert not file.errors
    assert [(rule.target, rule.observe) for rule in file.rules] == [("A", True), ("B", True)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#tunproxy: obsrve\nMATCH,A\n", "x.rules:1:12: a file cannot say 'obsrve' about itself "),
        ("MATCH,A\n# tunproxy: observe\n", "x.rules:2:13: observe is said of a file above its first rule"),
    ],
)
def test_what_a_file_cannot_say_of_itself_is_an_error(text: str, message: str) -> None:
    file = parse_rules(text.encode(), "x.rules")
    assert [str(error)[: len(message)] for error in file.errors] == [message]


def test_other_comments_say_nothing() -> None:
    file = parse_rules(b"# tunproxy observes: nothing\n# tunproxy is good\nMATCH,A # tunproxy: observe\n")
    assert ([rule.observe for rule in file.rules], file.errors) == ([False], [])
