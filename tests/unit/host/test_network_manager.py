"""Whom NetworkManager has the host ask."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbus_fast import Variant

from tests.unit.host.buses import Peer, connected, system_bus
from tunproxy.host.bus import VARIABLE
from tunproxy.host.network_manager import NAME, network_manager_servers

pytestmark = pytest.mark.needs("dbus-daemon")

PATH = "/org/freedesktop/NetworkManager/DnsManager"


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with system_bus(tmp_path) as found:
        monkeypatch.setenv(VARIABLE, found)
        yield found


def entry(interface: str, *servers: str, domains: tuple[str, ...] = ()) -> dict[str, Variant]:
    found = {
        "nameservers": Variant("as", list(servers)),
        "interface": Variant("s", interface),
        "priority": Variant("i", 100),
    }
    return found | ({"domains": Variant("as", list(domains))} if domains else {})


def test_its_order_is_kept_but_for_what_takes_some_domains_only(address: str) -> None:
    async def check() -> None:
        peer = Peer()
        entries = [
            entry("wg0", "10.66.0.1", domains=("~corp.example",)),
            entry("eth0", "192.0.2.53", "fe80::1", "nonsense"),
            entry("tun0", "10.231.77.2"),
            entry("wlan0", "2001:db8::53", "192.0.2.53", domains=("~.",)),
        ]
        peer.properties[PATH] = {"Configuration": Variant("aa{sv}", entries), "Mode": Variant("s", "dnsmasq")}
        async with connected() as bus:
            assert await network_manager_servers(bus) == []
            await peer.appear(address, NAME)
            found = await network_manager_servers(bus, without="tun0")
            assert found == ["192.0.2.53", "fe80::1%eth0", "2001:db8::53", "10.66.0.1"]
            peer.properties[PATH] = {}
            assert await network_manager_servers(bus) == []
        peer.vanish()

    asyncio.run(check())
