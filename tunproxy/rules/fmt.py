"""One way to write rules: types in upper case, no blanks around commas, comments kept.

Formatting what is formatted changes nothing, and the rules mean what they meant. Lines that are no rules stay
as they are.
"""

from tunproxy.rules.files import without_comment
from tunproxy.rules.kinds import PARAMS, kind_of
from tunproxy.rules.model import Condition, Position, Rule, RuleError
from tunproxy.rules.parse import OBSERVE, parse_rule

LOWER = frozenset({"DOMAIN", "DOMAIN-SUFFIX", "DOMAIN-KEYWORD", "DOMAIN-WILDCARD", "NETWORK"})


def format_rules(text: str) -> str:
    """Return a file, formatted: LF at line ends, at most one blank line in a row, none at the edges."""
    lines: list[str] = []
    for line in text.removeprefix("\ufeff").splitlines():
        formatted = format_line(line)
        if formatted or (lines and lines[-1]):
            lines.append(formatted)
    while lines and not lines[-1]:
        lines.pop()
    return "".join(f"{line}\n" for line in lines)


def format_line(line: str) -> str:
    """Return one line, formatted."""
    code = without_comment(line)
    comment = line[len(code) :].rstrip()
    if not code.strip():
        return comment
    try:
        formatted = format_rule(parse_rule(code.strip(), Position("", 1, 1)))
    except RuleError:
        return line.rstrip()
    return f"{formatted}  {comment}" if comment else formatted


def format_rule(rule: Rule) -> str:
    """Return a rule's text."""
    condition = rule.condition
    last = [OBSERVE] if rule.observe else []
    if condition.kind == "MATCH":
        return ",".join(["MATCH", rule.target, *last])
    fields = [condition.kind, payload_text(condition), rule.target, *ordered(condition.params), *last]
    return ",".join(fields)


def format_condition(condition: Condition) -> str:
    """Return the text of a condition without a target, as it stands in parentheses or in a rule set."""
    if condition.kind == "MATCH":
        return "MATCH"
    return ",".join([condition.kind, payload_text(condition), *ordered(condition.params)])


def payload_text(condition: Condition) -> str:
    """Return the text of a payload."""
    if kind_of(condition.kind).nested:
        children = ",".join(f"({format_condition(child)})" for child in condition.children)
        return children if condition.kind == "SUB-RULE" else f"({children})"
    return condition.payload.lower() if condition.kind in LOWER else condition.payload


def ordered(params: tuple[str, ...]) -> list[str]:
    """Return parameters in the one order, each once; those that change nothing come last."""
    known = [param for param in PARAMS if param in params]
    return known + sorted({param for param in params if param not in PARAMS})
