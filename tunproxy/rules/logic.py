"""AND, OR and NOT over three values: an unknown counts only where it could change the outcome."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.rules.facts import INDETERMINATE, MATCHED, NOT_MATCHED, Facts, Matcher


@final
@mypyc_attr(native_class=True)
class AllOf(Matcher):
    """AND: every one matches. One that does not settles it, whatever is unknown."""

    def __init__(self, parts: list[Matcher]) -> None:
        self.parts: Final = parts

    def test(self, facts: Facts) -> i64:
        before = facts.needs
        result = MATCHED
        for part in self.parts:
            answer = part.test(facts)
            if answer == INDETERMINATE:
                result = INDETERMINATE
            elif answer != MATCHED:
                facts.needs = before
                return NOT_MATCHED
        return result

    def needs(self) -> i64:
        return needs_of_all(self.parts)


@final
@mypyc_attr(native_class=True)
class AnyOf(Matcher):
    """OR: at least one matches. One that does settles it, whatever is unknown."""

    def __init__(self, parts: list[Matcher]) -> None:
        self.parts: Final = parts

    def test(self, facts: Facts) -> i64:
        before = facts.needs
        result = NOT_MATCHED
        for part in self.parts:
            answer = part.test(facts)
            if answer == MATCHED:
                facts.needs = before
                return MATCHED
            if answer == INDETERMINATE:
                result = INDETERMINATE
        return result

    def needs(self) -> i64:
        return needs_of_all(self.parts)


@final
@mypyc_attr(native_class=True)
class Not(Matcher):
    """NOT: the other way round. What was skipped did not match, so its NOT does."""

    def __init__(self, part: Matcher) -> None:
        self.part: Final = part

    def test(self, facts: Facts) -> i64:
        answer = self.part.test(facts)
        if answer == INDETERMINATE:
            return INDETERMINATE
        return NOT_MATCHED if answer == MATCHED else MATCHED

    def needs(self) -> i64:
        return self.part.needs()


@final
@mypyc_attr(native_class=True)
class PassedOver(Matcher):
    """A rule whose target is PASS: never met, but it may be what has a name resolved, as in mihomo.

    Rules with `no-resolve` after it then see the address.
    """

    def __init__(self, part: Matcher) -> None:
        self.part: Final = part

    def test(self, facts: Facts) -> i64:
        if facts.target or facts.address_asked:
            return NOT_MATCHED  # there is nothing left to resolve
        return INDETERMINATE if self.part.test(facts) == INDETERMINATE else NOT_MATCHED

    def needs(self) -> i64:
        return self.part.needs()


def needs_of_all(parts: list[Matcher]) -> i64:
    """Return what any of parts may have to know."""
    needs: i64 = 0
    for part in parts:
        needs |= part.needs()
    return needs
