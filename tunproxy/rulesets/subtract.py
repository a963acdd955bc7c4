"""One set without what is in another: the exceptions of AdGuard lists.

Lists have ten thousands of names and few exceptions, and an exception mostly concerns one of the names. So
names that no exception touches stay names, and only the others become conditions with a NOT.
"""

from collections.abc import Iterator

from tunproxy.rules.model import Condition, RuleSetContent
from tunproxy.rulesets.logic import all_of, any_of, below_condition, entries, negated
from tunproxy.rulesets.unfold import unfolded


def subtract(content: RuleSetContent, exceptions: RuleSetContent) -> RuleSetContent:
    """Return the flows of content that are not in exceptions; the notes of content stay with it."""
    unwanted = entries(exceptions)
    if not unwanted:
        return content
    content, exceptions = unfolded(content), unfolded(exceptions)
    patterns = entries(RuleSetContent(wildcard=exceptions.wildcard, keyword=exceptions.keyword,
                                      regex=exceptions.regex, ranges=exceptions.ranges,
                                      conditions=exceptions.conditions))  # fmt: skip
    names = _subtract_names(content, exceptions)
    rest = RuleSetContent(wildcard=content.wildcard, keyword=content.keyword, regex=content.regex,
                          ranges=content.ranges, conditions=content.conditions)  # fmt: skip
    # An exception that is a pattern may concern any name, and any exception whatever is not a name.
    if patterns:
        guarded = entries(names)
        names = RuleSetContent()
        if guarded:
            names.conditions.append(all_of([any_of(guarded), negated(any_of(patterns))]))
    others = entries(rest)
    if others:
        names.conditions.append(all_of([any_of(others), negated(any_of(unwanted))]))
    names.skipped = content.skipped
    return names


def _subtract_names(content: RuleSetContent, exceptions: RuleSetContent) -> RuleSetContent:
    """Return content's exact, suffix and below without exceptions' exact, suffix and below."""
    exact = set(exceptions.exact)
    suffix = set(exceptions.suffix)
    below = set(exceptions.below)
    within: dict[str, list[Condition]] = {}  # by name: the exceptions for names below it
    for names, make in ((exact, _exact), (suffix, _suffix), (below, below_condition)):
        for name in names:
            for parent in _parents(name):
                within.setdefault(parent, []).append(make(name))

    result = RuleSetContent()
    for name in content.exact:
        if name not in exact and name not in suffix and not _under(name, suffix, below):
            result.exact.append(name)
    for name in content.suffix:
        if name in suffix or _under(name, suffix, below):
            continue
        if name in below:
            if name not in exact:
                result.exact.append(name)
        elif name in within:
            unwanted = within[name] + ([_exact(name)] if name in exact else [])
            result.conditions.append(all_of([_suffix(name), negated(any_of(unwanted))]))
        elif name in exact:
            result.below.append(name)
        else:
            result.suffix.append(name)
    for name in content.below:
        if name in suffix or name in below or _under(name, suffix, below):
            continue
        if name in within:
            result.conditions.append(all_of([below_condition(name), negated(any_of(within[name]))]))
        else:
            result.below.append(name)
    return result


def _exact(name: str) -> Condition:
    return Condition("DOMAIN", name)


def _suffix(name: str) -> Condition:
    return Condition("DOMAIN-SUFFIX", name)


def _parents(name: str) -> Iterator[str]:
    """Yield the names above name."""
    at = name.find(".")
    while at >= 0:
        yield name[at + 1 :]
        at = name.find(".", at + 1)


def _under(name: str, suffix: set[str], below: set[str]) -> bool:
    """Return whether a name above name is in suffix or below."""
    return any(parent in suffix or parent in below for parent in _parents(name))
