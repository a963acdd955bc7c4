"""Rule lines in Clash's syntax become rules; what is wrong is told with its line and column.

    TYPE,PAYLOAD,TARGET[,param...]     any order of no-resolve and src, after the target only
    TYPE,PAYLOAD,TARGET                AND OR NOT SUB-RULE and the regular expressions, whose payload may have
                                       commas: it is everything between the first and the last
    MATCH,TARGET
    …,TARGET[,param...],observe        a rule of any type that only counts: the next one decides
    AND,((TYPE,PAYLOAD[,param...]),(...)),TARGET

Fields are split at commas and stripped of blanks, types are in any case. A condition in a rule set, or in
parentheses, is the same without a target. Types that plugins contribute are passed in as custom.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from tunproxy.rules.kinds import (
    ELSEWHERE,
    FOREIGN_PARAMS,
    KINDS,
    NO_CUSTOM,
    NUMBERS,
    PARAMS,
    CustomKinds,
    kind_of,
)
from tunproxy.rules.model import Condition, Position, Rule, RuleError
from tunproxy.rules.regex_syntax import RegexError

IN_LOGIC = frozenset({"MATCH", "SUB-RULE"})  # not allowed in parentheses
IN_SETS = frozenset({"MATCH", "SUB-RULE", "RULE-SET"})  # not allowed in a rule set
OBSERVE = "observe"
NUMBER_KINDS = frozenset(name for name, kind in KINDS.items() if kind is NUMBERS) | {"DSCP"}
MAX_DEPTH = 32  # our choice: how deep conditions nest
MAX_HINTS = 200  # our choice: to look for what was meant takes most of a millisecond

_NUMBER = re.compile(r"\d+(?:[-/]\d+)*")


@dataclass(frozen=True, slots=True)
class Field:
    """A part of a line, stripped, and the number of characters before it."""

    text: str
    at: int


def fields_of(text: str, at: int = 0) -> list[Field]:
    """Split text at commas; at is how many characters are before it in the line."""
    fields = []
    for part in text.split(","):
        lead = len(part) - len(part.lstrip())
        fields.append(Field(part.strip(), at + lead))
        at += len(part) + 1
    return fields


def parse_rule(text: str, position: Position, custom: CustomKinds = NO_CUSTOM, *, hints: bool = True) -> Rule:
    """Return the rule that text is; position is where text begins. Raises RuleError.

    custom are the types of rules that are not built in. Whether target, rule set and sub-rule exist is for
    ``compile`` to say, who knows them. hints: errors say what may have been meant; whoever has had MAX_HINTS
    of them can do without.
    """
    reader = _Reader(position, custom, hints=hints)
    fields = fields_of(text)
    kind = reader.kind(fields[0], frozenset())
    if kind == "MATCH":
        if len(fields) < 2 or not fields[1].text:
            raise reader.error(len(text), "no target (write MATCH,TARGET)")
        is_observed = any(field.text == OBSERVE for field in fields[2:])
        return Rule(Condition(kind, ""), fields[1].text, position, text, is_observed)
    fields, is_observed = _without_observe(kind, fields)
    target = target_field(text).text
    in_payload = kind_of(kind).nested and target.count(")") > target.count("(")
    if len(fields) < 3 or not target or in_payload:
        raise reader.error(len(text), f"no target (write {kind},PAYLOAD,TARGET)")
    if kind_of(kind).joined:
        condition = reader.condition(kind, text, 0, fields[1:-1], [], 0)
        return Rule(condition, fields[-1].text, position, text, is_observed)
    if fields[2].text in PARAMS:
        raise reader.error(
            fields[2].at, f"{fields[2].text!r} in place of the target (it comes after the target)"
        )
    if kind in NUMBER_KINDS and len(fields) > 3 and fields[3].text not in PARAMS:
        numbers = [field.text for field in takewhile(_is_number, fields[1:])]
        if len(numbers) > 1:
            meant = "/".join(numbers)
            raise reader.error(fields[2].at, f"{numbers[1]!r} in place of the target (write {kind},{meant})")
    condition = reader.condition(kind, text, 0, fields[1:2], fields[3:], 0)
    return Rule(condition, fields[2].text, position, text, is_observed)


def _is_number(field: Field) -> bool:
    return _NUMBER.fullmatch(field.text) is not None


def _without_observe(kind: str, fields: list[Field]) -> tuple[list[Field], bool]:
    """Return the fields without the word that has a rule only counted, and whether it was there.

    Behind a payload that may have commas it is that word only where a target is left in front of it.
    """
    if not kind_of(kind).joined:
        rest = [field for at, field in enumerate(fields) if at < 3 or field.text != OBSERVE]
        return rest, len(rest) < len(fields)
    if len(fields) < 4 or fields[-1].text != OBSERVE:
        return fields, False
    before = fields[-2].text
    is_payload = kind_of(kind).nested and before.count(")") > before.count("(")
    return (fields, False) if is_payload or not before else (fields[:-1], True)


def parse_condition(
    text: str, position: Position, forbidden: frozenset[str] = IN_SETS, *, hints: bool = True
) -> Condition:
    """Return the condition that text is, a rule without a target. Raises RuleError. hints as above."""
    return _Reader(position, hints=hints).bare(text, 0, forbidden, 0)


def target_field(text: str) -> Field:
    """Return the target of a rule line and where it is; the last field if it has too few."""
    fields = fields_of(text)
    kind = fields[0].text.upper()
    if kind == "MATCH":
        return fields[min(1, len(fields) - 1)]
    if kind in KINDS and KINDS[kind].joined:
        return _without_observe(kind, fields)[0][-1]
    return fields[min(2, len(fields) - 1)]


def moved(position: Position, characters: int) -> Position:
    """Return the place so many characters further in the same line."""
    return Position(position.file, position.line, position.column + characters)


def similar(word: str, known: Iterable[str]) -> str:
    """Return the known word that was most likely meant, "" if there is none like it."""
    # Of names that differ by their letters' case alone, that in the word's own case.
    ordered = sorted(known, key=lambda name: (name.isupper() == word.isupper(), name))
    folded = {name.lower(): name for name in ordered}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else ""


class _Reader:
    """Reads the parts of one line."""

    def __init__(self, position: Position, custom: CustomKinds = NO_CUSTOM, *, hints: bool = True) -> None:
        self.position = position
        self.custom = custom
        self.hints = hints

    def similar(self, word: str, known: Iterable[str]) -> str:
        """Return what may have been meant, "" where nobody wants to know any more."""
        return similar(word, known) if self.hints else ""

    def error(self, at: int, message: str, suggestion: str = "") -> RuleError:
        return RuleError(moved(self.position, at), message, suggestion)

    def kind(self, field: Field, forbidden: frozenset[str]) -> str:
        """Return the rule type that field names."""
        kind = field.text.upper()
        if not kind:
            raise self.error(field.at, "no rule type (write TYPE,PAYLOAD,TARGET)")
        if kind not in KINDS and kind not in self.custom:
            if kind.startswith("- "):
                raise self.error(field.at, "a rule has no '- ' in front, as YAML has (leave it out)")
            if " " in kind or ";" in kind:
                raise self.error(field.at, f"unknown rule type {field.text!r} (write TYPE,PAYLOAD,TARGET)")
            meant = ELSEWHERE.get(kind, "") or self.similar(kind, [*KINDS, *self.custom])
            raise self.error(field.at, f"unknown rule type {field.text!r}", meant)
        if kind in forbidden:
            raise self.error(field.at, f"{kind} is not allowed here")
        return kind

    def bare(self, text: str, at: int, forbidden: frozenset[str], depth: int) -> Condition:
        """Return the condition, without a target, that begins after `at` characters."""
        fields = fields_of(text, at)
        kind = self.kind(fields[0], forbidden)
        if kind == "MATCH":
            return Condition(kind, "")
        if len(fields) < 2:
            raise self.error(at + len(text), f"no payload (write {kind},PAYLOAD)")
        if kind_of(kind).joined:
            return self.condition(kind, text, at, fields[1:], [], depth)
        return self.condition(kind, text, at, fields[1:2], fields[2:], depth)

    def condition(
        self, kind: str, source: str, at: int, payload: list[Field], params: list[Field], depth: int
    ) -> Condition:
        """Return the condition whose payload is these fields, joined again.

        source is the text, `at` characters into the line, that the fields are from.
        """
        text = ",".join(field.text for field in payload)
        if kind_of(kind).nested:
            first, last = payload[0], payload[-1]
            inside = source[first.at - at : last.at - at + len(last.text)]
            return Condition(kind, text, (), self.children(kind, inside, first.at, depth + 1))
        try:
            (KINDS[kind] if kind in KINDS else self.custom[kind].kind).check(text)
        except RegexError as error:
            raise self.error(payload[0].at + error.at, f"bad expression {text!r}: {error}") from None
        except ValueError as error:
            raise self.error(payload[0].at, str(error)) from None
        return Condition(kind, text, tuple(self.param(field) for field in params if field.text))

    def param(self, field: Field) -> str:
        """Return one parameter."""
        if field.text not in PARAMS and field.text not in FOREIGN_PARAMS:
            meant = self.similar(field.text, PARAMS)
            known = f" (there are: {', '.join((*PARAMS, OBSERVE))})" if self.hints and not meant else ""
            raise self.error(field.at, f"unknown parameter {field.text!r}{known}", meant)
        return field.text

    def children(self, kind: str, text: str, at: int, depth: int) -> tuple[Condition, ...]:
        """Return the conditions that text holds in parentheses.

        `((T,p),(T,p))`, or for SUB-RULE, which stands for a condition itself, `(T,p)`.
        """
        if depth > MAX_DEPTH:
            raise self.error(at, f"conditions nest deeper than {MAX_DEPTH}")
        if kind == "SUB-RULE":
            text, at = f"({text})", at - 1
        if not text.startswith("(") or not text.endswith(")") or len(text) < 2:
            raise self.error(
                at, f"{kind} wants its conditions in parentheses (write {kind},((TYPE,PAYLOAD)),TARGET)"
            )
        children = []
        place = 1
        while True:
            place = self.blank(text, place)
            if text[place] != "(":
                raise self.error(at + place, f"{kind} wants a condition in parentheses here")
            end = self.closing(text, place, at)
            children.append(self.bare(text[place + 1 : end], at + place + 1, IN_LOGIC, depth))
            place = self.blank(text, end + 1)
            if place == len(text) - 1:
                break
            if text[place] != ",":
                raise self.error(at + place, "expected ',' or ')'")
            place += 1
        if len(children) > 1 and kind in ("NOT", "SUB-RULE"):
            raise self.error(at, f"{kind} takes exactly one condition, not {len(children)}")
        return tuple(children)

    def blank(self, text: str, place: int) -> int:
        """Return the place of the next character that is no blank; the last one is a parenthesis."""
        while text[place].isspace():
            place += 1
        return place

    def closing(self, text: str, start: int, at: int) -> int:
        """Return the place of the parenthesis that closes the one at start; `\\(` does not count."""
        depth = 0
        place = start
        while place < len(text) - 1:
            if text[place] == "\\":
                place += 1
            elif text[place] == "(":
                depth += 1
            elif text[place] == ")":
                depth -= 1
                if depth == 0:
                    return place
            place += 1
        raise self.error(at + start, "'(' without ')'")
