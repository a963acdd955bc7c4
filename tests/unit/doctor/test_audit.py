"""Which packets would leak."""

from typing import cast

import pytest

from tests.unit.doctor.looks import Ways
from tunproxy.doctor import audit
from tunproxy.doctor.finding import State
from tunproxy.host.netlink import Netlink, Way

INTO = Way("tun0", "", "")


def run(kernel: Ways, monkeypatch: pytest.MonkeyPatch, resolver: str = "127.0.0.1") -> dict[str, State]:
    monkeypatch.setattr(audit, "read_host_settings", lambda: f"nameserver {resolver}\n")
    found = audit.audit(cast(Netlink, kernel), ["tun0"], 1000)
    return {each.subject: each.state for each in found}


def test_nothing_leaks_where_all_goes_into_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(Ways(INTO), monkeypatch)
    assert set(found.values()) == {State.FINE}
    assert len(found) == 2 * (len(audit.WORLD) + 1)


def test_nothing_leaks_where_no_way_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(run(Ways(None), monkeypatch).values()) == {State.FINE}


def test_what_goes_elsewhere_leaks_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(Ways(INTO, p17_443=Way("eth0", "", "")), monkeypatch)
    assert [subject for subject, state in found.items() if state is State.BROKEN] == [
        "IPv4 QUIC (udp/443)",
        "IPv6 QUIC (udp/443)",
    ]


def test_resolvers_are_asked_about_but_for_those_on_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(Ways(INTO, p6_53=Way("eth0", "", "")), monkeypatch, "192.0.2.53")
    assert found["resolver 192.0.2.53 DNS (udp/53)"] is State.FINE
    assert found["resolver 192.0.2.53 DNS (tcp/53)"] is State.BROKEN


def test_portal_is_not_looked_for_without_a_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "has_bus", lambda: False)
    assert audit.judge_portal() is None
