"""What is in force of what was asked for, and how it is told."""

from collections.abc import Mapping
from typing import ClassVar, cast

import pytest

from tunproxy.control import capture_report
from tunproxy.control.capture import CaptureOptions
from tunproxy.control.capture_report import CaptureReport
from tunproxy.control.config.schema import DnsConfig
from tunproxy.errors import SystemChangeError
from tunproxy.host.cgroups import EXCLUDED, INCLUDED
from tunproxy.host.netlink import Netlink
from tunproxy.host.scope import Scope

GROUPS = CaptureOptions(include_cgroups=("a",), exclude_cgroups=("a/b",), exclude_users=(7,))
FORWARDED = CaptureOptions(forwarded=True)
NET = cast("Netlink", None)  # only who is asked for something uses it


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
    scope = report.mark("tun0", NET)
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
    scope = report.mark("tun0", NET)
    assert (scope.only_cgroups, scope.spares_cgroups) == (False, False)
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
            "include-cgroups": ["a"],
            "exclude-cgroups": ["a/b"],
        }
    }
    assert report_of(FORWARDED).document() == {"capture": {"forwarded": True}}
    assert report_of(CaptureOptions()).document() == {"capture": {}}


class Answers:
    """In place of the table in the kernel, which ``test_answer_marks`` has."""

    made: ClassVar[list[str]] = []

    def __init__(self, tun: str, scope: Scope) -> None:
        self.made.append(tun)

    def apply(self, net: Netlink) -> None:
        pass

    def close(self) -> None:
        self.made.append("closed")


def test_answers_of_what_is_forwarded_are_marked_until_the_report_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capture_report, "AnswerMarks", Answers)
    Answers.made.clear()
    for options in (CaptureOptions(), CaptureOptions(forwarded=True, kill_switch=True)):
        report = report_of(options)
        assert not report.mark("tun0", NET).spares_answers
        assert not report.kept
    report = report_of(FORWARDED)
    assert report.mark("tun0", NET).spares_answers
    assert len(report.kept) == 1
    report.close()
    report.close()
    assert Answers.made == ["tun0", "closed"]


def test_answers_that_cannot_be_marked_are_a_problem(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(answers: Answers, net: Netlink) -> None:
        raise SystemChangeError("cannot use nftables: no library")

    monkeypatch.setattr(Answers, "apply", refuse)
    monkeypatch.setattr(capture_report, "AnswerMarks", Answers)
    report = report_of(FORWARDED)
    scope = report.mark("tun0", NET)
    assert (scope.forwarded, scope.spares_answers, list(report.kept)) == (True, False, [])
    (problem,) = report.problems()
    assert problem.startswith("cannot use nftables: no library: servers in containers")
    assert capfd.readouterr().err == f"tunproxy: {problem}\n"
