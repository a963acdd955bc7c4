"""``tunproxy doctor`` and ``tunproxy audit`` as people use them."""

import json

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.cli.doctor import NOT_FINE, describe_findings, user_id
from tunproxy.cli.main import run
from tunproxy.device.tun import open_tun
from tunproxy.doctor.finding import Finding, State


def test_findings_are_told_with_evidence_and_mend_where_they_are_not_fine() -> None:
    found = [
        Finding("kernel", State.FINE, "all is well", ("not shown",), "nor this"),
        Finding("device tun0", State.BROKEN, "it is down\x1b", ("mtu 1500",), "ip link set tun0 up"),
    ]
    assert describe_findings(found).splitlines() == [
        "ok    kernel       all is well",
        "BAD   device tun0  it is down?",
        "                   mtu 1500",
        "                   -> ip link set tun0 up",
    ]


def test_user_is_a_name_or_a_number() -> None:
    assert user_id("") is None
    assert user_id("root") == 0
    assert user_id("1234") == 1234


@pytest.mark.parametrize(
    "wrong",
    [
        ["doctor", "--user", "nobody-is-called-so"],
        ["doctor", "--probe", "a.example:80"],
        ["doctor", "--tun", "none0"],
        ["audit", "--tun", "none0"],
        ["audit", "--user", "nobody-is-called-so"],
    ],
)
def test_what_is_asked_wrongly_is_one_line(wrong: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(wrong) == 2
    assert len(capfd.readouterr().err.splitlines()) == 1


@needs_namespaces
def test_exit_code_tells_that_something_is_broken() -> None:
    def check() -> None:
        opened = open_tun("cli0")
        assert run(["doctor", "--tun", "cli0"]) == NOT_FINE  # it is down
        assert run(["audit"]) == 0  # no way leads anywhere
        opened.close()

    isolated(check)


@needs_namespaces
def test_json_has_every_finding(capfd: pytest.CaptureFixture[str]) -> None:
    isolated(lambda: run(["doctor", "--json"]))
    found = json.loads(capfd.readouterr().out)
    assert {"subject", "state", "says", "evidence", "mend"} == set(found[0])
