"""Files of rules: one rule a line, comments, blank lines. Their octets are read by whoever asks.

`#` begins a comment at the start of a line or after a blank, as in Clash's YAML; so `a#b` is text, and a
regular expression that looks for a blank and a `#` writes `[ ]#`. Lines end in LF or CRLF, and a byte order
mark in front is passed over. Every line is read, so that all errors of a file are told at once.

A comment `# tunproxy: observe` above the first rule is for us: all rules of the file only count.
"""

import re
from dataclasses import dataclass, field, replace

from tunproxy.rules.kinds import FOREIGN_PARAMS, NO_CUSTOM, CustomKinds, kind_of, why_never
from tunproxy.rules.model import Condition, Position, Rule, RuleError
from tunproxy.rules.parse import MAX_HINTS, OBSERVE, parse_rule, similar

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_LINE = 10_000  # our choice; what is longer is no rule
_HEADER = re.compile(r"\s*#\s*tunproxy\s*:\s*(.*?)\s*$")


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that is allowed and hardly meant."""

    position: Position
    message: str

    def __str__(self) -> str:
        return f"{self.position}: {self.message}"


@dataclass(slots=True)
class RuleFile:
    """What a file holds; where there are errors, the rules are those of the other lines."""

    name: str
    lines: list[str] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    errors: list[RuleError] = field(default_factory=list)
    warnings: list[Notice] = field(default_factory=list)
    observe: bool = False  # the file says that none of its rules decides

    def show(self, position: Position) -> str:
        """Return the line of position with a caret below its column."""
        line = self.lines[position.line - 1].replace("\t", " ")
        return f"    {line}\n    {' ' * (position.column - 1)}^"


def parse_rules(data: bytes, name: str = "", custom: CustomKinds = NO_CUSTOM) -> RuleFile:
    """Return what data holds, whatever it is; name is what positions call the file.

    custom are the types of rules that are not built in.
    """
    result = RuleFile(name)
    if data.startswith(BYTE_ORDER_MARK):
        data = data[len(BYTE_ORDER_MARK) :]
    for number, raw in enumerate(data.split(b"\n"), 1):
        try:
            line = raw.decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            result.lines.append(raw.decode(errors="replace").removesuffix("\r"))
            column = len(raw[: error.start].decode()) + 1
            place = Position(name, number, column)
            result.errors.append(
                RuleError(place, f"octet 0x{raw[error.start]:02x} is not UTF-8 (save the file as UTF-8)")
            )
            continue
        result.lines.append(line)
        text = without_comment(line)
        if text.strip():
            _take(result, text, number, custom)
        else:
            _take_header(result, line, number)
    return result


def without_comment(line: str) -> str:
    """Return line up to its comment."""
    at = line.find("#")
    while at > 0 and not line[at - 1].isspace():
        at = line.find("#", at + 1)
    return line if at < 0 else line[:at]


def _take(result: RuleFile, text: str, number: int, custom: CustomKinds) -> None:
    """Add the rule of one line to result, or what is wrong with it."""
    stripped = text.strip()
    position = Position(result.name, number, len(text) - len(text.lstrip()) + 1)
    if len(stripped) > MAX_LINE:
        result.errors.append(RuleError(position, f"line of {len(stripped)} characters (at most {MAX_LINE})"))
        return
    try:
        rule = parse_rule(stripped, position, custom, hints=len(result.errors) < MAX_HINTS)
    except RuleError as error:
        result.errors.append(error.with_traceback(None))  # which holds result: a circle for each
        return
    result.rules.append(replace(rule, observe=True) if result.observe else rule)
    result.warnings.extend(Notice(position, message) for message in oddities(rule.condition))


def _take_header(result: RuleFile, line: str, number: int) -> None:
    """Do what a comment says that is meant for us; any other is passed over."""
    found = _HEADER.match(line)
    if found is None:
        return
    position = Position(result.name, number, found.start(1) + 1)
    if found[1] != OBSERVE:
        message = f"a file cannot say {found[1]!r} about itself (write # tunproxy: {OBSERVE})"
        result.errors.append(RuleError(position, message, similar(found[1], [OBSERVE])))
    elif result.rules or result.errors:
        result.errors.append(RuleError(position, f"{OBSERVE} is said of a file above its first rule"))
    else:
        result.observe = True


def oddities(condition: Condition) -> list[str]:
    """Return what is allowed and hardly meant in a condition and those within it."""
    found = []
    reason = why_never(condition)
    if reason:
        found.append(f"{condition.kind},{condition.payload} never matches: {reason}")
    for param in condition.params:
        if param in FOREIGN_PARAMS or not kind_of(condition.kind).about_addresses:
            found.append(f"parameter {param!r} changes nothing about {condition.kind}")
    for child in condition.children:
        found.extend(oddities(child))
    return found
