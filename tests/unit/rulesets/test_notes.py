"""What was left out."""

from tunproxy.rules.model import Position, RuleSetContent
from tunproxy.rulesets.notes import MAX_NOTES, Notes, broken, how_many


def test_note_has_place_and_reason() -> None:
    content = RuleSetContent()
    Notes(content, "a.list").skip(3, 5, "no name")
    assert content.skipped == [(Position("a.list", 3, 5), "no name")]
    assert (how_many(content), how_many(RuleSetContent())) == (1, 0)


def test_notes_beyond_the_limit_are_counted_in_one() -> None:
    content = RuleSetContent()
    notes = Notes(content, "a.list")
    for line in range(1, MAX_NOTES + 501):
        notes.skip(line, 1, "no name")
    assert notes.count == how_many(content) == MAX_NOTES + 500
    assert len(content.skipped) == MAX_NOTES + 1
    assert content.skipped[-1] == (Position("a.list", MAX_NOTES + 1, 1), "and 500 more that cannot be read")


def test_error_names_the_file() -> None:
    assert str(broken("a.list", "not a text file")) == "a.list:1:1: not a text file"
