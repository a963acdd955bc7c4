"""What a conversion results in: rule lines, the sets they name, and what became of each rule."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tunproxy.rules.model import Condition, Position, RuleError
from tunproxy.rules.parse import parse_rule

EXACT: Final = "exact"
APPROXIMATED: Final = "approximated"
DROPPED: Final = "dropped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one rule: result is EXACT, APPROXIMATED or DROPPED; why is "" where it is exact.

    text is the rule as its file has it, position where it stands there, lines what we write for it.
    """

    result: str
    text: str
    position: Position
    lines: tuple[str, ...]
    why: str = ""

    def __str__(self) -> str:
        reason = f": {self.why}" if self.why else ""
        return f"{self.position}: {self.result}: {self.text}{reason}"


@dataclass(frozen=True, slots=True)
class Source:
    """A rule set: kind is file, http or inline; location a path or an address; items are for inline sets.

    line is where its file speaks of it.
    """

    name: str
    kind: str
    form: str
    behavior: str
    location: str = ""
    items: tuple[str, ...] = ()
    line: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Outlet:
    """Something that rules may name as their target: an upstream, or a group of them.

    Of an upstream, server, port, user and password are what its program says, "" and 0 where that is nothing;
    options what else our table of it says, as in TOML, and left_out what is different there. Of a group,
    options are how members are tested and chosen. obstacle is why its kind, which we know, cannot be spoken
    to as it is set up.
    """

    name: str
    kind: str
    members: tuple[str, ...] = ()
    server: str = field(default="", compare=False)
    port: int = field(default=0, compare=False)
    user: str = field(default="", compare=False)
    password: str = field(default="", compare=False, repr=False)
    options: Mapping[str, object] = field(default_factory=dict, compare=False)
    left_out: tuple[str, ...] = field(default=(), compare=False)
    obstacle: str = field(default="", compare=False)
    line: int = field(default=1, compare=False)


@dataclass(slots=True)
class Conversion:
    """Everything that a file was turned into. outcomes has one entry a rule, in the order of the file.

    aliases are names that the file has for targets of ours; others names its parts that nothing became of.
    """

    name: str
    lines: list[str] = field(default_factory=list)
    sub_rules: dict[str, list[str]] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    outlets: list[Outlet] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)

    def add(
        self, text: str, line: int, rules: list[str], why: str = "", into: list[str] | None = None
    ) -> None:
        """Take rules for the rule text: exact or, with why, approximated; dropped where one is no rule."""
        position = Position(self.name, line, 1)
        lines = self.lines if into is None else into
        for rule in rules:
            try:
                if "\n" in rule or "\r" in rule:
                    raise RuleError(position, "it has a line break in it")
                parse_rule(rule, position)
            except RuleError as error:
                hint = f" (did you mean {error.suggestion!r}?)" if error.suggestion else ""
                self.drop(text, line, error.message + hint)
                return
        lines.extend(rules)
        self.outcomes.append(Outcome(APPROXIMATED if why else EXACT, text, position, tuple(rules), why))

    def drop(self, text: str, line: int, why: str) -> None:
        """Note that a rule was left out."""
        self.outcomes.append(Outcome(DROPPED, text, Position(self.name, line, 1), (), why))

    def count(self, result: str) -> int:
        """Return how many rules came out so."""
        return sum(outcome.result == result for outcome in self.outcomes)

    def rule_file(self) -> str:
        """Return the lines as a rule file, with a comment above what is not exact."""
        text: list[str] = []
        for outcome in self.outcomes:
            if outcome.result == DROPPED:
                text.append(f"# dropped: {_one_line(outcome.text)} ({_one_line(outcome.why)})")
            elif set(outcome.lines) <= set(self.lines):
                if outcome.why:
                    text.append(f"# approximated: {_one_line(outcome.text)} ({_one_line(outcome.why)})")
                text.extend(outcome.lines)
        return "".join(f"{line}\n" for line in text)


def port_of(value: object) -> int:
    """Return the port that another program's value is, 0 for what is none."""
    text = str(value)
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    return number if number < 1 << 16 else 0


def rule_line(condition: Condition, target: str) -> str:
    """Return the rule line for a condition and a target."""
    if condition.kind == "MATCH":
        return f"MATCH,{target}"
    head = f"{condition.kind},{condition.payload},{target}"
    return ",".join((head, *condition.params)) if condition.params else head


def _one_line(text: str) -> str:
    return " ".join(text.split())
