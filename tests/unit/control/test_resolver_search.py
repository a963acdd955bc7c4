"""Whom the host asks: who is asked about that first, and what is left out."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbus_fast import Variant

from tests.unit.host.buses import Peer, connected, system_bus
from tests.unit.host.test_network_manager import PATH, entry
from tests.unit.host.test_resolved import link, play, server
from tunproxy.control import resolver_search
from tunproxy.control.resolver_search import find_resolvers, find_resolvers_now
from tunproxy.dns import system
from tunproxy.host import network_manager, resolved
from tunproxy.host.bus import VARIABLE

pytestmark = pytest.mark.needs("dbus-daemon")

STUB = "nameserver 127.0.0.53\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """resolv.conf, which names a stub, and the file behind it."""
    found = tmp_path / "resolv.conf", tmp_path / "behind"
    found[0].write_text(STUB)
    found[1].write_text("nameserver 192.0.2.99\n")

    def resolvers(**options: object) -> list[str]:
        behind = found[1:] if options.pop("behind_stubs") else ()
        return system.system_resolvers(resolv_conf=found[0], behind_stubs=behind, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(resolver_search, "system_resolvers", resolvers)
    return found


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    names = {2: "eth0", 7: "tun0"}
    monkeypatch.setattr(resolver_search, "link_name", names.get)
    with system_bus(tmp_path) as found:
        monkeypatch.setenv(VARIABLE, found)
        yield found


def search(address: str, *peers: tuple[str, Peer]) -> tuple[str, ...]:
    """Return what is found with these peers on the bus."""

    async def ask() -> tuple[str, ...]:
        for name, peer in peers:
            await peer.appear(address, name)
        async with connected() as bus:
            found = await find_resolvers(bus, tun=7)
        for _, peer in peers:
            peer.vanish()
        return found

    return asyncio.run(ask())


def resolved_with(*servers: str) -> tuple[str, Peer]:
    peer = Peer()
    ours = link(server("10.231.77.2"), domains=((".", True),))
    play(peer, {2: link(*map(server, servers), DefaultRoute=Variant("b", True)), 7: ours})
    return resolved.NAME, peer


def manager_with(*servers: str) -> tuple[str, Peer]:
    peer = Peer()
    entries = [entry("tun0", "10.231.77.2"), entry("eth0", *servers)]
    peer.properties[PATH] = {"Configuration": Variant("aa{sv}", entries)}
    return network_manager.NAME, peer


def test_resolved_knows_before_network_manager_before_files(files: tuple[Path, Path], address: str) -> None:
    assert search(address, resolved_with("192.0.2.1"), manager_with("192.0.2.2")) == ("192.0.2.1",)
    assert search(address, resolved_with(), manager_with("192.0.2.2")) == ("192.0.2.2",)
    assert search(address, resolved_with("127.0.0.1"), manager_with()) == ("192.0.2.99",)
    assert search(address) == ("192.0.2.99",)


def test_resolvers_that_programs_ask_themselves_are_the_hosts(files: tuple[Path, Path], address: str) -> None:
    """But for us, whom resolv.conf names where it is a list of all that resolved asks."""
    files[0].write_text("nameserver 10.231.77.2\nnameserver 192.0.2.77\n")
    assert search(address, resolved_with("192.0.2.1")) == ("192.0.2.77",)


def test_who_refuses_to_tell_is_passed_by(files: tuple[Path, Path], address: str) -> None:
    name, peer = resolved_with("192.0.2.1")
    peer.properties.clear()
    assert search(address, (name, peer), manager_with("192.0.2.2")) == ("192.0.2.2",)


def test_before_there_is_a_loop_the_answer_is_waited_for(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"unix:path={tmp_path}/nobody")
    assert find_resolvers_now() == ("192.0.2.99",)
    files[1].unlink()
    assert find_resolvers_now() == ()
    files[0].write_text("nameserver 192.0.2.77\n")
    assert find_resolvers_now() == ("192.0.2.77",)


def test_before_there_is_a_loop_the_bus_is_asked_all_the_same(files: tuple[Path, Path], address: str) -> None:
    async def check() -> None:
        name, peer = resolved_with("192.0.2.1")
        await peer.appear(address, name)
        assert await asyncio.to_thread(find_resolvers_now) == ("192.0.2.1",)
        peer.vanish()

    asyncio.run(check())
