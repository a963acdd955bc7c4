"""What rules are made of once their text is understood: positions, conditions, rules, contents of rule sets.

All of it is plain data, made when a policy is loaded and never on the way of a packet. ``compile`` makes
of it what flows are matched with.
"""

from dataclasses import dataclass, field

from tunproxy.errors import ConfigError
from tunproxy.rules.name_trie import NameTrie


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a text: line and column count characters from 1; file is "" for text that has none."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        place = f"{self.line}:{self.column}"
        return f"{self.file}:{place}" if self.file else place


@dataclass(frozen=True, slots=True)
class Condition:
    """What a rule asks of a flow.

    kind is the rule type in upper case ("DOMAIN-SUFFIX", "AND"), payload its argument as it is written,
    params the words after it ("no-resolve", "src"). AND, OR and NOT have children, whose text the payload
    is; so has SUB-RULE, exactly one.
    """

    kind: str
    payload: str
    params: tuple[str, ...] = ()
    children: tuple["Condition", ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition and where the flows go that meet it; text is the line as it is written.

    One with observe only counts the flows that meet it: the next rule decides about them.
    """

    condition: Condition
    target: str
    position: Position
    text: str
    observe: bool = False


class RuleError(ConfigError):
    """A rule cannot be understood: where, why, and what may have been meant.

    Reads ``home.rules:12:1: unknown rule type 'DOMIAN' (did you mean 'DOMAIN'?)``.
    """

    def __init__(self, position: Position, message: str, suggestion: str = "") -> None:
        self.position = position
        self.message = message
        self.suggestion = suggestion
        hint = f" (did you mean {suggestion!r}?)" if suggestion else ""
        super().__init__(f"{position}: {message}{hint}")


@dataclass(slots=True)
class RuleSetContent:
    """What a rule set holds: a flow is in it that meets any one of its entries.

    Names are in lower case, without a dot at either end. Addresses are ranges, both ends included, as
    (4 or 6, first, last). What could not be read is in skipped, with the reason.
    """

    exact: list[str] = field(default_factory=list)  # this name
    suffix: list[str] = field(default_factory=list)  # this name and every name below it
    below: list[str] = field(default_factory=list)  # every name below this one, but not itself
    wildcard: list[str] = field(default_factory=list)  # Clash's patterns: `*` is one label, `+.` and `.` lead
    keyword: list[str] = field(default_factory=list)  # names with this text in them
    regex: list[str] = field(default_factory=list)  # names in which this RE2 expression is found
    ranges: list[tuple[int, int, int]] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)  # everything else
    tries: list[NameTrie] = field(default_factory=list)  # names, packed (``rulesets.unfold``)
    skipped: list[tuple[Position, str]] = field(default_factory=list)


class RuleErrors(ConfigError):
    """Several rules cannot be understood; reads as one line for each."""

    def __init__(self, errors: list[RuleError]) -> None:
        self.errors = errors
        super().__init__("\n".join(str(error) for error in errors))
