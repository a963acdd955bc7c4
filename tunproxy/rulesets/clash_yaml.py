"""Clash rule providers, format yaml: a list under `payload:` (or `rules:`), read line by line.

No YAML library is used: one takes minutes for a million lines, and one bad line would be the end of the
whole file. Each `- item` is understood alone, as mihomo does it.
"""

import json
import re
from typing import Final

from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.behaviors import DOMAIN, add_item, add_names, check_behavior
from tunproxy.rulesets.lines import PATTERN_OCTETS, only_patterns, split_comment, text_pieces
from tunproxy.rulesets.notes import Notes, broken

_HEAD: Final = re.compile(r"[ \t]*([\"']?)(?:payload|rules)\1:[ \t]*(.*)")
_MARKERS: Final = ("---", "...")  # of YAML's documents
_OTHER_KEY: Final = re.compile(r"[A-Za-z_][\w-]*:([ \t]|$)")
_PLAIN: Final = PATTERN_OCTETS + b" \t'\""
_DASH: Final = "-"


def read_yaml(data: bytes, behavior: str, name: str) -> RuleSetContent:
    """Return the set that data holds; bad lines are in its skipped.

    Raises RuleError for what is no text or has no `payload:`.
    """
    check_behavior(behavior, name)
    content = RuleSetContent()
    reader = _Reader(content, behavior, Notes(content, name))
    for piece in text_pieces(data, name):
        if behavior == DOMAIN and reader.in_list and _add_plain(content, piece):
            reader.number += piece.count(b"\n")
        else:
            reader.read(piece)
    if not reader.found:
        raise broken(name, "no list of rules (a line `payload:` is missing)")
    return content


def _add_plain(content: RuleSetContent, piece: bytes) -> bool:
    """Add all items of a piece that holds nothing but plain names; False where it holds anything else."""
    if piece.translate(None, _PLAIN):
        return False
    for quote in (b"'", b'"'):
        if quote in piece:
            ends = piece.count(quote + b"\n") + piece.count(quote + b"\r") + piece.endswith(quote)
            if 2 * ends != piece.count(quote) or piece.count(b"- " + quote) != ends:
                return False
            piece = piece.replace(quote, b"")
    words = piece.decode().split()
    if len(words) % 2 or words[::2].count(_DASH) * 2 != len(words):
        return False
    return only_patterns(piece.translate(None, b" \t")) and add_names(content, words[1::2])


class _Reader:
    """Lines one by one: where in the file we are, and what was found."""

    def __init__(self, content: RuleSetContent, behavior: str, notes: Notes) -> None:
        self.content = content
        self.behavior = behavior
        self.notes = notes
        self.number = 0
        self.found = False  # there was a `payload:`
        self.in_list = False

    def read(self, piece: bytes) -> None:
        lines = piece.decode("utf-8", "replace").split("\n")
        if lines[-1] == "":
            lines.pop()
        for line in lines:
            self.number += 1
            stripped = line.strip()
            if stripped and stripped[0] != "#":
                self.take(line, stripped)

    def take(self, line: str, stripped: str) -> None:
        """Look at one line that is not empty."""
        if line.rstrip() in _MARKERS:
            return
        if self.in_list and stripped[0] == "-":
            item = stripped[1:].strip()
            self.add(item, len(line.rstrip()) - len(item) + 1)
            return
        head = _HEAD.fullmatch(line.rstrip())
        if head and not self.found:
            self.found = self.in_list = True
            self.flow(split_comment(head[2]), head.start(2))
        elif self.in_list:
            if _OTHER_KEY.match(line):
                self.in_list = False
            else:
                self.notes.skip(self.number, 1, "not a list item (it begins with no '-')")

    def flow(self, text: str, column: int) -> None:
        """Read a list that stands on the line of its key, `[a, 'b']`."""
        text = text.strip()
        if not text or text[0] == "#":
            return
        if text[0] != "[" or text[-1] != "]":
            self.notes.skip(self.number, column + 1, "not a list (items stand below, each after a '-')")
            return
        self.in_list = False
        for part in re.findall(r"'(?:[^']|'')*'|\"(?:[^\"\\]|\\.)*\"|[^,\s][^,]*", text[1:-1]):
            self.add(part.strip(), column + 1)

    def add(self, text: str, column: int) -> None:
        item, why = unquote(text)
        if not why and item:
            why = add_item(self.content, item, self.behavior)
        if why:
            self.notes.skip(self.number, column, why)


def unquote(text: str) -> tuple[str, str]:
    """Return what a scalar of YAML stands for, and what is wrong with it or ""."""
    if text[:1] not in ("'", '"'):
        return ("" if text[:1] == "#" else split_comment(text)), ""
    end = len(text) - 1
    if text[end] != text[0] or end == 0:  # a comment behind it
        end = text.rfind(text[0], 0, len(split_comment(text)))
    if end <= 0 or split_comment(text[end + 1 :] + " #").strip(" #"):
        return "", f"{text} has a quote without its pair"
    if text[0] == "'":
        return text[1:end].replace("''", "'").strip(), ""
    if "\\" not in text:
        return text[1:end].strip(), ""
    try:
        return str(json.loads(text[: end + 1])).strip(), ""
    except ValueError:
        return "", f"{text} has an escape that YAML does not know"
