"""Types of rules that plugins contribute, in the form in which the language of rules uses them.

``rules.parse`` needs to know how a payload is checked (``kind``), ``rules.build`` what becomes of it
(``matcher``). Both get a mapping of these by name from whoever puts a policy together.
"""

from collections.abc import Callable, Mapping
from typing import Final

from mypy_extensions import i64

from tunproxy.blame import failure, source_of
from tunproxy.plugin.contributions import RuleKind, RuleTest
from tunproxy.plugin.hook import Hook
from tunproxy.plugin.ledger import Ledger
from tunproxy.rules.facts import (
    INDETERMINATE,
    MATCHED,
    NEED_NAMES,
    NEEDS_ADDRESS,
    NEEDS_NAME,
    NEEDS_PROCESS,
    NEEDS_TIME,
    NOT_MATCHED,
    Facts,
    Matcher,
)
from tunproxy.rules.kinds import Kind

HOOK_NAME: Final = "contribute_rule_kinds"


class CustomKind:
    """One type of rule of one plugin."""

    def __init__(self, plugin: str, kind: RuleKind, ledger: Ledger) -> None:
        self.name: Final = kind.name
        self.plugin: Final = plugin
        self.kind: Final = Kind(self._check)
        self._kind: Final = kind
        self._ledger: Final = ledger
        self._needs: Final = sum(1 << NEED_NAMES.index(need) for need in set(kind.needs))

    def matcher(self, payload: str) -> Matcher:
        """Return what flows are asked with. Raises ValueError where the payload is wrong."""
        return CustomMatcher(self.plugin, self._test(payload), self._needs, self._ledger)

    def _check(self, payload: str) -> None:
        self._test(payload)

    def _test(self, payload: str) -> RuleTest:
        try:
            test = self._kind.make(payload)
        except ValueError:
            raise
        except (Exception, SystemExit) as error:
            why = failure(error, source_of(self._kind.make))
            raise ValueError(f"plugin {self.plugin} failed: {why}") from error
        if not callable(getattr(test, "match", None)):
            raise ValueError(f"plugin {self.plugin} made {test!r}, which matches nothing")
        return test


class CustomMatcher(Matcher):
    """A condition whose answer a plugin gives. One that is at fault has not matched."""

    def __init__(self, plugin: str, test: RuleTest, needs: int, ledger: Ledger) -> None:
        self._needs: Final = needs
        self._ledger: Final = ledger
        self._hook: Final = Hook(plugin, _tristate(test.match), ("facts",), HOOK_NAME)

    def test(self, facts: Facts) -> i64:
        answer = self._ledger.ask(self._hook, {"facts": facts}, _is_met, deed="match a rule", about="")
        if answer is None or answer == NOT_MATCHED:
            return NOT_MATCHED
        if answer == MATCHED:
            return MATCHED
        missing = self._needs & _unknown(facts)
        if not missing:  # nothing more can be found out
            return NOT_MATCHED
        facts.needs |= missing
        return INDETERMINATE

    def needs(self) -> i64:
        return self._needs


def custom_kinds(contributed: Mapping[str, tuple[str, RuleKind]], ledger: Ledger) -> dict[str, CustomKind]:
    """Return the types of rules that plugins contribute (``Plugins.rule_kinds``), by name."""
    return {name: CustomKind(plugin, kind, ledger) for name, (plugin, kind) in contributed.items()}


def _tristate(match: Callable[[Facts], object]) -> Callable[[Facts], object]:
    """Return match with "cannot be said" as a number: to the ledger, None would be no answer at all."""

    def ask(facts: Facts) -> object:
        answer = match(facts)
        return INDETERMINATE if answer is None else answer

    return ask


def _is_met(answer: object) -> i64:
    if answer is True:
        return MATCHED
    if answer is False:
        return NOT_MATCHED
    if type(answer) is int and answer == INDETERMINATE:
        return INDETERMINATE
    raise TypeError(f"{answer!r} is neither True, False nor None")


def _unknown(facts: Facts) -> int:
    """Return what is unknown of a flow and may still be found out, as bits."""
    unknown = 0
    if not facts.host and not facts.host_asked:
        unknown |= NEEDS_NAME
    if not facts.target and not facts.address_asked:
        unknown |= NEEDS_ADDRESS
    if not facts.process_asked:
        unknown |= NEEDS_PROCESS
    if facts.minute_of_week < 0:
        unknown |= NEEDS_TIME
    return unknown
