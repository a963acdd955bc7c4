"""All that is looked at, together."""

import os
import subprocess
from ipaddress import ip_network

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.device.tun import open_tun
from tunproxy.doctor.examine import asking_user, examine
from tunproxy.doctor.finding import State
from tunproxy.errors import ConfigError
from tunproxy.host.netlink import Netlink
from tunproxy.host.routes import TABLE


def test_asking_user_is_the_one_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert asking_user({"SUDO_UID": "1000"}) == 1000
    assert asking_user({"SUDO_UID": "x"}) == asking_user({}) == 0
    monkeypatch.setattr(os, "geteuid", lambda: 5)
    assert asking_user({"SUDO_UID": "1000"}) == 5


@needs_namespaces
def test_examine_begins_with_a_kill_switch_that_was_left() -> None:
    def check() -> None:
        with Netlink() as net:
            net.set_link("lo", up=True)
            assert "kill switch" not in {each.subject for each in examine()}
            net.add_unreachable(ip_network("0.0.0.0/0"), TABLE)
        first = examine()[0]
        assert (first.subject, first.state) == ("kill switch", State.BROKEN)
        assert "tunproxy rescue" in first.mend

    isolated(check)


@needs_namespaces
@pytest.mark.needs("ip")
def test_examine_tells_of_a_device_that_is_down_and_of_routes_past_it() -> None:
    def check() -> None:
        with pytest.raises(ConfigError, match=r"no TUN device is called 'tun9' \(there are: none\)"):
            examine("tun9")
        opened = open_tun("exam0")
        for words in (
            "link set lo up",
            "link add a0 type veth peer name a1",
            "link set a0 up",
            "link set a1 up",
        ):
            subprocess.run(["ip", *words.split()], check=True, timeout=10)
        subprocess.run(["ip", "route", "add", "default", "dev", "a0"], check=True, timeout=10)
        found = examine("exam0")
        broken = {each.subject: each.says for each in found if each.state is State.BROKEN}
        assert broken["device exam0"].startswith("it is down")
        assert broken["routes"].startswith("IPv4 goes out at a0")
        subjects = {each.subject for each in found}
        assert {
            "kernel",
            "limits",
            "clock",
            "tunproxy",
            "offload",
            "sources",
            "loops",
            "checksums",
        } <= subjects
        opened.close()

    isolated(check)
