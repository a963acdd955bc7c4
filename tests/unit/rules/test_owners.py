"""UNIT and CGROUP."""

import pytest

from tests.unit.rules.rulebook import flow, matches

FIREFOX = "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-1.scope"


@pytest.mark.parametrize(
    ("line", "cgroup", "unit", "expected"),
    [
        ("UNIT,app.slice,A", FIREFOX, None, True),
        ("UNIT,app-firefox-*.scope,A", FIREFOX, None, True),
        ("UNIT,cron,A", "/system.slice/cron.service", None, True),
        ("UNIT,cron.service,A", None, "cron.service", True),
        ("UNIT,cron,A", "/system.slice/cron2.service", None, False),
        ("UNIT,cron,A", None, None, False),
        ("CGROUP,/system.slice,A", "/system.slice/cron.service", None, True),
        ("CGROUP,system.slice/,A", "/system.slice", None, True),
        ("CGROUP,/system.slice,A", "/system.slice2", None, False),
        ("CGROUP,/user.slice/*/app.slice,A", FIREFOX, None, True),
        ("CGROUP,/,A", FIREFOX, None, True),
        ("CGROUP,/,A", None, None, False),
    ],
)
def test_process_is_in_a_part_of_the_system(
    line: str, cgroup: str | None, unit: str | None, expected: bool
) -> None:
    assert matches(line, flow(cgroup=cgroup, unit=unit)) == expected
