"""What a killed ``up`` leaves is removed, and nothing that is in use."""

import os
import socket
import subprocess
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.control import endpoint
from tunproxy.control.rescue import holds_alone, holds_now, rescue, rescue_after_service
from tunproxy.errors import SystemChangeError
from tunproxy.host.addresses import TUN_IPV4
from tunproxy.host.kill_switch import KillSwitch
from tunproxy.host.lane import Lane
from tunproxy.host.netlink import Netlink
from tunproxy.host.routes import TABLE
from tunproxy.host.rules import PolicyRules, TableClaim

pytestmark = needs_namespaces


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory there is for control sockets, with one that nobody listens at."""
    monkeypatch.setattr(endpoint, "directories", lambda: [tmp_path])
    monkeypatch.setattr(endpoint, "OF_ROOT", tmp_path)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "tunproxy0.sock"))
    return tmp_path


def rules() -> str:
    return subprocess.run(["ip", "rule"], capture_output=True, text=True, check=True).stdout


@pytest.mark.needs("ip")
def test_rescue_removes_rules_and_socket_and_nobody_elses(place: Path) -> None:
    def check() -> None:
        subprocess.run(["ip", "rule", "add", "pref", "7772", "lookup", "77"], check=True)
        before = rules()
        with Netlink() as net:
            PolicyRules("tunproxy0", (TUN_IPV4,), TABLE, uid=61_000).apply(net)
            Lane(frozenset({ip_network("192.0.2.0/24")})).apply(net)
        assert rules() != before
        told = rescue()
        assert rules() == before
        assert told == ["14 policy rules", "1 prefix of the lane", str(place / "tunproxy0.sock")]
        assert list(place.iterdir()) == []
        assert rescue() == []

    isolated(check)


@pytest.mark.needs("ip")
def test_rescue_leaves_a_running_one_alone(place: Path) -> None:
    def check() -> None:
        claim = TableClaim()
        assert claim.take(TABLE)
        with Netlink() as net:
            PolicyRules("tunproxy0", (TUN_IPV4,), TABLE, uid=61_000).apply(net)
        before = rules()
        with pytest.raises(SystemChangeError, match="a tunproxy serves this network namespace"):
            rescue()
        assert rules() == before
        claim.give_up()
        assert len(rescue()) == 2

    isolated(check)


def test_rescue_without_the_right_says_so(place: Path) -> None:
    def check() -> None:
        with Netlink() as net:
            PolicyRules("tunproxy0", (TUN_IPV4,), TABLE, uid=61_000).apply(net)
        os.setresuid(65_534, 65_534, 65_534)
        with pytest.raises(SystemChangeError, match="not permitted"):
            rescue()

    isolated(check)


@pytest.mark.needs("ip", "nft")
def test_rescue_undoes_a_kill_switch_but_not_between_a_crash_and_the_next_start(place: Path) -> None:
    def check() -> None:
        with Netlink() as net:
            net.set_link("lo", up=True)
            policy = PolicyRules("tunproxy0", (TUN_IPV4,), TABLE, uid=61_000)
            policy.apply(net)
            KillSwitch("tunproxy0", [ip_network("0.0.0.0/0"), ip_network("::/0")], policy).apply(net)
            before = rules()
            for result in ("signal", "exit-code", "watchdog", "timeout", "start-limit-hit", ""):
                told, holds = rescue_after_service({"SERVICE_RESULT": result} if result else {})
                assert holds, result
                assert (rules(), holds_now(), holds_alone()) == (before, True, True)
            claim = TableClaim()
            assert claim.take(TABLE)
            assert not holds_alone(), "whoever serves has one of his own"
            claim.give_up()
            assert told == []
            told, holds = rescue_after_service({"SERVICE_RESULT": "success"})
            assert (told[0], holds) == ("the kill switch", False)
            assert not holds_now()
            assert not holds_alone()
            assert net.count_routes(TABLE) == 0
            assert rescue_after_service({"SERVICE_RESULT": "signal"}) == ([], False)

    isolated(check)
