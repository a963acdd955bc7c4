"""Settings become a server: with the resolvers that the user named, and nobody else."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import pytest

from tests.unit.dns.world import CLIENT, Clock, Sockets, Turns, peer, query, respond, run, texts
from tests.unit.wire.frames import packed
from tunproxy.dns.build import Dns, DnsSettings, build_dns
from tunproxy.errors import ConfigError


def built(sockets: Sockets | None = None, **settings: Any) -> Dns:
    sockets = sockets or Sockets()
    loop = asyncio.get_running_loop()
    settings = {"hosts_file": False, **settings}
    dns = build_dns(DnsSettings(**settings), loop, Turns(), sockets, sockets.dialer(), now=Clock())
    assert dns is not None
    return dns


def saying(address: str) -> Callable[[bytes], list[bytes]]:
    """Return a script that answers A, and nothing else, with address."""

    def answer(asked: bytes) -> list[bytes]:
        [rrset] = dns.message.from_wire(asked).question
        records = [f"{rrset.name.to_text(True)} 60 A {address}"] if rrset.rdtype == 1 else []
        return [respond(asked, *records)]

    return answer


def test_nothing_is_made_where_nothing_is_wanted() -> None:
    async def test() -> None:
        sockets = Sockets()
        settings = DnsSettings(mode="off")
        assert build_dns(settings, asyncio.get_running_loop(), Turns(), sockets, sockets.dialer()) is None

    run(test())


def test_system_stands_for_the_resolvers_of_the_host() -> None:
    async def test() -> None:
        async with peer(saying("192.0.2.1")) as resolver:
            found = built(system=(f"127.0.0.1:{resolver.port}",))
            assert texts(await found.server.answer(query(), CLIENT)) == ["www.example 60 A 192.0.2.1"]
            assert found.names.lookup(CLIENT, packed("192.0.2.1"), Clock()()).host == "www.example"
            await found.close()

    run(test())


def test_fake_addresses_outlive_a_run(tmp_path: Path) -> None:
    async def test() -> None:
        settings = {"mode": "fake-ip", "servers": ("192.0.2.53",), "fake_ip_file": tmp_path / "fake"}
        first = built(**settings)
        assert texts(first.server.answer_now(query(), CLIENT)) == ["www.example 1 A 198.18.0.16"]
        with pytest.raises(ConfigError, match="another tunproxy has it"):
            built(**settings)
        first.drain()
        assert first.server.answer_now(query("new.example"), CLIENT) is None
        await first.close()
        second = built(**settings)
        assert second.names.lookup(CLIENT, packed("198.18.0.16"), 0).host == "www.example"
        await second.close()

    run(test())


def test_targets_that_are_excepted_are_left_alone() -> None:
    async def test() -> None:
        found = built(servers=("192.0.2.53",), hijack_except=("192.0.2.9",))
        assert not found.datagrams.takes(packed("192.0.2.9"), 53)
        assert found.datagrams.takes(packed("192.0.2.8"), 53)
        await found.close()

    run(test())


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"mode": "magic"}, r"\[dns\] mode: 'magic' is not one of real-ip, fake-ip, off"),
        ({"servers": ()}, "no resolver to ask"),
        ({"servers": ("system",)}, "no resolver to ask"),
        (
            {"servers": ("tls://dns.example",)},
            "nobody to ask for its address .write tls://dns.example@ADDRESS",
        ),
        ({"servers": ("192.0.2.1", "magic://x")}, r"\[dns\] servers: resolver 'magic://x'"),
        ({"servers": ("tls://192.0.2.1",), "ca_file": Path("/nowhere/ca.pem")}, "ca-file /nowhere/ca.pem"),
        ({"servers": ("192.0.2.1",), "mode": "fake-ip", "fake_ip_range": "10.0.0.0/30"}, "fake-ip range"),
    ],
)
def test_wrong_setting_is_the_users_mistake(settings: dict[str, Any], why: str) -> None:
    async def test() -> None:
        with pytest.raises(ConfigError, match=why):
            built(**settings)

    run(test())


def test_fake_addresses_do_without_a_file_that_nobody_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        settings: dict[str, Any] = {
            "mode": "fake-ip",
            "servers": ("192.0.2.53",),
            "fake_ip_file": tmp_path / "fake",
            "needs_fake_ip_file": False,
        }
        first, second = built(**settings), built(**settings)
        for each in (first, second):
            assert texts(each.server.answer_now(query(), CLIENT)) == ["www.example 1 A 198.18.0.16"]
            await each.close()
        assert "another tunproxy has it" in caplog.text
        assert "do not outlive this run" in caplog.text

    run(test())
