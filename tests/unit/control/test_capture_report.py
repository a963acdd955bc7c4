"""What is in force of what was asked for, and how it is told."""

from collections.abc import Mapping

import pytest

from tunproxy.control import capture_report
from tunproxy.control.capture import CaptureOptions
from tunproxy.control.capture_report import CaptureReport
from tunproxy.control.config.schema import DnsConfig
from tunproxy.errors import SystemChangeError
from tunproxy.host.cgroups import EXCLUDED, INCLUDED

GROUPS = CaptureOptions(include_cgroups=("a",), exclude_cgroups=("a/b",), forwarded=True, exclude_users=(7,))


def report_of(options: CaptureOptions) -> CaptureReport:
    return CaptureReport(options, options.scope(DnsConfig(), answers_names=False))


def test_groups_are_marked_until_the_report_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Mapping[str, int]] = []

    class Marks:
        def __init__(self, groups: Mapping[str, int]) -> None:
            held.append(groups)

        def close(self) -> None:
            held.clear()

    monkeypatch.setattr(capture_report, "GroupMarks", Marks)
    report = report_of(GROUPS)
    scope = report.mark()
    assert (scope.only_cgroups, scope.spares_cgroups) == (True, True)
    assert held == [{"a": INCLUDED, "a/b": EXCLUDED}]
    assert report.problems() == []
    report.close()
    report.close()
    assert held == []


def test_groups_that_cannot_be_marked_are_a_problem_and_make_no_difference(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(groups: Mapping[str, int]) -> None:
        raise SystemChangeError("cannot tell control groups apart: no library")

    monkeypatch.setattr(capture_report, "GroupMarks", refuse)
    report = report_of(GROUPS)
    scope = report.mark()
    assert (scope.only_cgroups, scope.spares_cgroups, scope.forwarded) == (False, False, True)
    (problem,) = report.problems()
    assert problem == (
        "cannot tell control groups apart: no library: control groups make no difference to what is captured"
    )
    assert capfd.readouterr().err == f"tunproxy: {problem}\n"
    report.close()


def test_document_has_what_was_asked_for_in_the_words_of_the_configuration() -> None:
    assert report_of(GROUPS).document() == {
        "capture": {
            "exclude-users": [7],
            "forwarded": True,
            "include-cgroups": ["a"],
            "exclude-cgroups": ["a/b"],
        }
    }
    assert report_of(CaptureOptions()).document() == {"capture": {}}
