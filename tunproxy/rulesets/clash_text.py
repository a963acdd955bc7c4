"""Clash rule providers, format text: an item a line, `#` and `//` begin a comment."""

from typing import Final

from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.behaviors import CLASSICAL, DOMAIN, add_item, add_names, check_behavior
from tunproxy.rulesets.classical import add_names_of_kind
from tunproxy.rulesets.lines import only_patterns, split, split_comment, text_pieces
from tunproxy.rulesets.notes import Notes

_COMMENTS: Final = ("#", "//")


def read_text(data: bytes, behavior: str, name: str) -> RuleSetContent:
    """Return the set that data holds; bad lines are in its skipped. Raises RuleError for what is no text."""
    check_behavior(behavior, name)
    content = RuleSetContent()
    notes = Notes(content, name)
    number = 0
    for piece in text_pieces(data, name):
        if behavior == DOMAIN and only_patterns(piece) and add_names(content, piece.decode().split()):
            number += piece.count(b"\n")
            continue
        if behavior == CLASSICAL and add_names_of_kind(content, piece):
            number += piece.count(b"\n")
            continue
        for line in split(piece):
            number += 1
            if not line or line.startswith(_COMMENTS):
                continue
            item = line if behavior == CLASSICAL else split_comment(line)
            why = add_item(content, item, behavior)
            if why:
                notes.skip(number, 1, why)
    return content
