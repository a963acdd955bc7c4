"""What we have resolved do, and what we read out of it. The real one is in tests/system/test_resolved.py."""

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import Variant

from tests.unit.host.buses import Answer, Peer, PeerError, connected, system_bus
from tests.unit.waiting import until
from tunproxy.host import resolved as resolved_module
from tunproxy.host.bus import VARIABLE, BusError
from tunproxy.host.resolved import NAME, Resolved, ResolvedLink, choose_servers

pytestmark = pytest.mark.needs("dbus-daemon")

MANAGER = "/org/freedesktop/resolve1"
LINKS = {1: "lo", 2: "eth0", 3: "wlan0", 7: "tun0"}


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(resolved_module.socket, "if_indextoname", LINKS.__getitem__)
    with system_bus(tmp_path) as found:
        monkeypatch.setenv(VARIABLE, found)
        yield found


def server(text: str, port: int = 0, name: str = "") -> list[Any]:
    found = ip_address(text)
    return [socket.AF_INET6 if found.version == 6 else socket.AF_INET, found.packed, port, name]


def link(
    *servers: list[Any], domains: tuple[tuple[str, bool], ...] = (), **more: Variant
) -> dict[str, Variant]:
    return {
        "DNSEx": Variant("a(iayqs)", list(servers)),
        "Domains": Variant("a(sb)", [list(each) for each in domains]),
        **more,
    }


def play(peer: Peer, links: dict[int, dict[str, Variant]], whole: dict[str, Variant] | None = None) -> None:
    """Have peer be a resolved that takes everything."""

    def get_link(index: int) -> Answer:
        if index not in links:
            raise PeerError("org.freedesktop.resolve1.NoSuchLink", f"Link {index} not known")
        return "o", [f"{MANAGER}/link/_{index}"]

    peer.answers["GetLink"] = get_link
    for index, properties in links.items():
        peer.properties[f"{MANAGER}/link/_{index}"] = properties
    servers = [[index, *each] for index, known in links.items() for each in known["DNSEx"].value]
    peer.properties[MANAGER] = {"DNSEx": Variant("a(iiayqs)", servers), **(whole or {})}
    for method in (
        "SetLinkDNS",
        "SetLinkDomains",
        "SetLinkDefaultRoute",
        "SetLinkDNSOverTLS",
        "SetLinkDNSSEC",
    ):
        peer.answers[method] = lambda *_: ("", [])
    for method in ("SetLinkLLMNR", "SetLinkMulticastDNS", "FlushCaches", "RevertLink"):
        peer.answers[method] = lambda *_: ("", [])


def test_link_gets_one_server_all_names_and_nothing_else(address: str) -> None:
    async def check() -> None:
        peer = Peer()
        play(peer, {7: link()})
        del peer.answers["SetLinkDefaultRoute"]  # one from before version 240 does not know it
        await peer.appear(address, NAME)
        async with connected() as bus:
            resolved = Resolved(bus)
            assert await resolved.is_there()
            assert not await resolved.has_taken(7, "10.231.77.2")
            await resolved.take(7, "10.231.77.2")
            await resolved.release(7)
        assert [each for each in peer.asked if each[0] != "GetLink"] == [
            ("SetLinkDNS", 7, [[2, bytes((10, 231, 77, 2))]]),
            ("SetLinkDomains", 7, [[".", True]]),
            ("SetLinkDefaultRoute", 7, True),
            ("SetLinkDNSOverTLS", 7, "no"),
            ("SetLinkDNSSEC", 7, "no"),
            ("SetLinkLLMNR", 7, "no"),
            ("SetLinkMulticastDNS", 7, "no"),
            ("FlushCaches",),
            ("RevertLink", 7),
            ("FlushCaches",),
        ]
        peer.vanish()

    asyncio.run(check())


def test_what_was_taken_is_recognised(address: str) -> None:
    async def check() -> None:
        peer = Peer()
        ours = server("10.231.77.2")
        play(
            peer,
            {
                7: link(ours, domains=((".", True),)),
                3: link(ours, server("192.0.2.1"), domains=((".", True),)),
                2: link(ours),
            },
        )
        await peer.appear(address, NAME)
        async with connected() as bus:
            found = [await Resolved(bus).has_taken(index, "10.231.77.2") for index in (7, 3, 2, 1)]
        assert found == [True, False, False, False]
        peer.vanish()

    asyncio.run(check())


def test_refusal_is_an_error_and_a_link_that_is_gone_is_none(address: str) -> None:
    async def check() -> None:
        peer = Peer()
        play(peer, {})

        def busy(*_: object) -> Answer:
            raise PeerError("org.freedesktop.resolve1.LinkBusy", "Link tun0 is managed.")

        def no_link(*_: object) -> Answer:
            raise PeerError("org.freedesktop.resolve1.NoSuchLink", "Link 7 not known")

        peer.answers |= {"SetLinkDNS": busy, "RevertLink": no_link}
        await peer.appear(address, NAME)
        async with connected() as bus:
            with pytest.raises(BusError, match=r"SetLinkDNS: Link tun0 is managed\.$"):
                await Resolved(bus).take(7, "10.231.77.2")
            await Resolved(bus).release(7)
        assert peer.asked[-1] == ("FlushCaches",)
        peer.vanish()

    asyncio.run(check())


def test_servers_are_read_as_dns_settings_have_them(address: str) -> None:
    async def check() -> None:
        peer = Peer()
        play(
            peer,
            {
                1: link(),
                2: link(
                    server("192.0.2.53"), server("192.0.2.54", 5353), server("fe80::1"),
                    domains=(("Corp.Example.", False),), DefaultRoute=Variant("b", True),
                ),
                3: link(
                    server("192.0.2.55", 0, "dns.example"), server("2001:db8::55", 8853),
                    DNSOverTLS=Variant("s", "yes"), DefaultRoute=Variant("b", False),
                ),
                7: link(server("10.231.77.2"), domains=((".", True),)),
            },
            {
                "DNSEx": Variant(
                    "a(iiayqs)", [[index, *server("9.9.9.9")] for index in (0, 2, 2, 2, 3, 7)]
                ),
                "Domains": Variant("a(isb)", [[0, "home.arpa", True], [2, "corp.example", False]]),
            },
        )  # fmt: skip
        await peer.appear(address, NAME)
        async with connected() as bus:
            links = await Resolved(bus).links()
        assert links == [
            ResolvedLink(0, "", ("9.9.9.9",), ("home.arpa",), True),
            ResolvedLink(
                2, "eth0", ("192.0.2.53", "udp://192.0.2.54:5353", "fe80::1%eth0"), ("corp.example",), True
            ),
            ResolvedLink(3, "wlan0", ("tls://dns.example@192.0.2.55", "tls://[2001:db8::55]:8853")),
            ResolvedLink(7, "tun0", ("10.231.77.2",), (".",)),
        ]
        assert [each.takes_all for each in links] == [False, False, False, True]
        peer.vanish()

    asyncio.run(check())


def test_older_ones_know_neither_ports_nor_names(address: str) -> None:
    async def check() -> None:
        peer = Peer()
        old = {"DNS": Variant("a(iay)", [server("192.0.2.53")[:2]]), "Domains": Variant("a(sb)", [])}
        play(peer, {})
        peer.answers["GetLink"] = lambda index: ("o", [f"{MANAGER}/link/_{index}"])
        peer.properties[f"{MANAGER}/link/_2"] = old
        known = [[0, *server("2001:db8::1")[:2]], [2, *server("192.0.2.53")[:2]]]
        peer.properties[MANAGER] = {"DNS": Variant("a(iiay)", known)}
        await peer.appear(address, NAME)
        async with connected() as bus:
            links = await Resolved(bus).links()
        assert [each.servers for each in links] == [("2001:db8::1",), ("192.0.2.53",)]
        assert links[1].is_default
        peer.vanish()

    asyncio.run(check())


def test_changes_of_servers_are_told(address: str) -> None:
    async def check() -> None:
        told: list[int] = []
        async with connected() as bus:
            await Resolved(bus).watch(lambda: told.append(1))
            peer = Peer()
            await peer.appear(address, NAME)
            await until(lambda: len(told) == 1)
            await peer.tell_changed(MANAGER, "org.freedesktop.resolve1.Manager", "CurrentDNSServer")
            await peer.tell_changed(MANAGER, "org.freedesktop.resolve1.Manager", "DNS")
            await until(lambda: len(told) == 2)
            peer.vanish()
            await until(lambda: len(told) == 3)

    asyncio.run(check())


def of(index: int, *servers: str, domains: tuple[str, ...] = (), is_default: bool = False) -> ResolvedLink:
    return ResolvedLink(index, f"eth{index}", servers, domains, is_default)


WHOLE = of(0, "9.9.9.9", is_default=True)
ETHERNET = of(2, "192.0.2.53", "192.0.2.54", domains=("corp.example",), is_default=True)
RADIO = of(3, "192.0.2.54", "192.0.2.55", is_default=True)
ASIDE = of(4, "10.0.0.53", domains=("lab.example",))
VPN = of(5, "10.66.0.1", domains=(".", "vpn.example"))
OURS = of(7, "10.231.77.2", domains=(".",), is_default=True)


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ([], []),
        ([WHOLE, ETHERNET, RADIO, ASIDE, OURS], ["192.0.2.53", "192.0.2.54", "192.0.2.55", "9.9.9.9"]),
        ([WHOLE, ETHERNET, VPN, OURS], ["10.66.0.1"]),
        ([ASIDE, OURS], ["10.0.0.53"]),
        ([WHOLE, OURS], ["9.9.9.9"]),
        ([OURS], []),
    ],
)
def test_those_whom_resolved_would_ask_without_us_are_chosen(
    links: list[ResolvedLink], expected: list[str]
) -> None:
    assert choose_servers(links, without=7) == expected


def test_nobody_is_left_out_before_we_have_a_link() -> None:
    assert choose_servers([WHOLE], without=0) == ["9.9.9.9"]
