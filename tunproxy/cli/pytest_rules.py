"""A plugin of pytest's: each expectation in a ``*.rules`` file that pytest comes by is a test.

An option, ``--tunproxy-config FILE``, names the configuration that has the targets and rule sets.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tunproxy.errors import TunproxyError

if TYPE_CHECKING:
    from tunproxy.control.expectations import Outcome

OPTION = "--tunproxy-config"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our option."""
    parser.addoption(OPTION, default="", metavar="FILE", help="tunproxy.toml that *.rules files belong to")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "RulesFile | None":
    """Take files that end in .rules."""
    if file_path.suffix != ".rules":
        return None
    found = RulesFile.from_parent(parent, path=file_path)
    assert isinstance(found, RulesFile)
    return found


class RulesFile(pytest.File):
    """A rule file; one that is broken is an error of the collection."""

    def collect(self) -> Iterator["ExpectationItem"]:
        """Yield a test for each expectation."""
        from tunproxy.control.rule_files import check_file

        try:
            outcomes = check_file(str(self.path), self.config.getoption(OPTION))
        except TunproxyError as error:
            raise self.CollectError(str(error)) from None
        for outcome in outcomes:
            name = f"line {outcome.expectation.position.line}: {outcome.expectation.text}"
            item = ExpectationItem.from_parent(self, name=name)
            assert isinstance(item, ExpectationItem)
            item.outcome = outcome
            yield item


class ExpectationItem(pytest.Item):
    """One expectation."""

    outcome: "Outcome"

    def runtest(self) -> None:
        """Fail unless it is met."""
        if not self.outcome.is_met:
            raise ExpectationNotMetError(str(self.outcome))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """Return the one line that says where the flow goes, and why."""
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return where the expectation stands."""
        return self.path, self.outcome.expectation.position.line - 1, self.name


class ExpectationNotMetError(Exception):
    """A flow goes somewhere else."""
