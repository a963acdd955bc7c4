"""Which packets would leak."""

import asyncio
from pathlib import Path
from typing import cast

import pytest
from dbus_fast import Variant

from tests.unit.doctor.looks import Ways
from tests.unit.host.buses import Peer, system_bus
from tunproxy.doctor import audit
from tunproxy.doctor.finding import State
from tunproxy.host.bus import VARIABLE
from tunproxy.host.netlink import Netlink, Way
from tunproxy.host.network_manager import NAME

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
    found = audit.judge_portal()
    assert (found.state, found.says) == (
        State.UNKNOWN,
        "nobody looks for one: there is no system bus, over which NetworkManager would tell",
    )


@pytest.mark.needs("dbus-daemon")
@pytest.mark.parametrize(
    ("connectivity", "state", "says"),
    [
        (None, State.UNKNOWN, "nobody looks for one: NetworkManager, which would, does not run"),
        (0, State.UNKNOWN, "check of connectivity is off"),
        (2, State.ODD, "NetworkManager sees one"),
        (4, State.FINE, "NetworkManager sees none"),
    ],
)
def test_portal_is_told_as_network_manager_sees_it(
    connectivity: int | None, state: State, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(address: str) -> None:
        peer = Peer()
        if connectivity is not None:
            peer.properties["/org/freedesktop/NetworkManager"] = {"Connectivity": Variant("u", connectivity)}
            await peer.appear(address, NAME)
        found = await audit.look_for_portal()
        assert (found.subject, found.state) == ("captive portal", state)
        assert says in found.says
        assert ("exclude-users" in found.mend) is (state is State.ODD)
        if connectivity is not None:
            assert found.evidence == (f"Connectivity {connectivity}",)
            peer.vanish()

    with system_bus(tmp_path) as address:
        monkeypatch.setenv(VARIABLE, address)
        asyncio.run(check(address))


def test_portal_is_unknown_where_the_bus_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"unix:path={tmp_path / 'none'}")
    found = audit.judge_portal()
    assert found.state is State.UNKNOWN
    assert "nobody looks for one: " in found.says
