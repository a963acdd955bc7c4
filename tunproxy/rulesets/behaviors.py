"""What the items of a Clash rule provider are, by its behavior: names, addresses, or conditions."""

from typing import Final

from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.classical import add_condition
from tunproxy.rulesets.items import MAX_NAME_LEN, add_pattern, add_prefix
from tunproxy.rulesets.notes import broken

DOMAIN: Final = "domain"
IPCIDR: Final = "ipcidr"
CLASSICAL: Final = "classical"
BEHAVIORS: Final = (DOMAIN, IPCIDR, CLASSICAL)


def check_behavior(behavior: str, name: str) -> None:
    """Raise RuleError unless behavior is one of BEHAVIORS."""
    if behavior not in BEHAVIORS:
        raise broken(name, f"unknown behavior {behavior!r} (known: {', '.join(BEHAVIORS)})")


def add_item(content: RuleSetContent, item: str, behavior: str) -> str:
    """Add one item; return "" or why it cannot be added."""
    if "\ufffd" in item:
        return "the line is no UTF-8, or too long"
    if behavior == DOMAIN:
        return add_pattern(content, item)
    if behavior == IPCIDR:
        return add_prefix(content, item)
    return add_condition(content, item)


def add_names(content: RuleSetContent, names: list[str]) -> bool:
    """Add many names that hold nothing but the characters of names; False, and nothing added, if one is bad.

    The caller has made sure that none is empty or has an empty label but the first, or a dot at its end.
    """
    if names and max(map(len, names)) > MAX_NAME_LEN:
        return False
    suffix = [name[2:] for name in names if name[:2] == "+."]
    if len(suffix) < len(names):
        below = [name[1:] for name in names if name[0] == "."]
        exact = [name for name in names if name[0] != "." and name[:2] != "+."]
        wild = [name for name in names if "*" in name]
        if wild:
            return False
        content.below += below
        content.exact += exact
    elif any("*" in name for name in suffix):
        return False
    content.suffix += suffix
    return True
