"""Names over the changes of policies."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.unit.dns.world import CLIENT, Turns, query, read
from tests.unit.waiting import turns
from tests.unit.wire.frames import packed
from tunproxy.control import live_names
from tunproxy.control.config.schema import DnsConfig
from tunproxy.control.live_names import LiveNames
from tunproxy.dns.fake_store import open_files
from tunproxy.errors import ConfigError
from tunproxy.flow.ports import DatagramReply
from tunproxy.flow.verdict import FlowInfo
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.sockets import KernelSockets

HOSTS = {"nas.lan": "192.168.1.9"}


class Reply(DatagramReply):
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, payload: bytes) -> None:
        self.sent.append(payload)


@contextmanager
def live(*system: str) -> Iterator[tuple[asyncio.AbstractEventLoop, LiveNames]]:
    loop = asyncio.new_event_loop()
    sockets = KernelSockets(0, "")
    names = LiveNames(loop, Turns(), sockets, AsyncDialer(loop, sockets), system)
    yield loop, names
    loop.run_until_complete(names.close())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def config(**fields: object) -> DnsConfig:
    return DnsConfig(servers=("192.0.2.53",), hosts_file=False, fake_ip_file="", **fields)  # type: ignore[arg-type]


def asked(names: LiveNames, name: str, kind: str = "A") -> str:
    """Ask over UDP what is answered at once; return the records as text."""
    reply = Reply()
    assert names.takes(bytes(4), 53)
    names.on_datagram(CLIENT, 4000, bytes(4), 53, query(name, kind), reply)
    (wire,) = reply.sent
    return "\n".join(str(each) for each in read(wire).answer)


def test_nobody_answers_before_a_policy_says_so() -> None:
    with live() as (_, names):
        assert not names.takes(bytes(4), 53)
        assert names.statistics() == {}
        assert names.build(DnsConfig()) is None  # nobody to ask
        assert names.build(config(mode="off")) is None
        with pytest.raises(ConfigError):
            names.build(DnsConfig(servers=("tls://",)))


def test_policy_with_the_same_settings_keeps_its_servers() -> None:
    with live() as (_, names):
        first = names.build(config(hosts=HOSTS))
        assert first is not None
        names.adopt(first)
        assert "192.168.1.9" in asked(names, "nas.lan")
        assert names.build(config(hosts=HOSTS)) is first
        other = names.build(config(hosts={"nas.lan": "192.168.1.10"}))
        assert other is not None
        assert other is not first
        names.adopt(other)
        assert "192.168.1.10" in asked(names, "nas.lan")
        assert names.table.lookup(CLIENT, bytes([192, 168, 1, 9]), 0).host == "nas.lan"  # still known
        names.adopt(None)
        assert not names.takes(bytes(4), 53)


def test_what_is_replaced_ends_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_names, "RETIRES_AFTER", 0.01)
    with live() as (loop, names):
        first, other = names.build(config()), names.build(config(cache_size=5))
        assert first is not None
        names.adopt(first)
        names.adopt(other)
        assert first.datagrams.takes(bytes(4), 53)
        loop.run_until_complete(turns(0.05))
        assert not first.datagrams.takes(bytes(4), 53)


def test_fake_addresses_keep_their_meaning() -> None:
    with live() as (_, names):
        names.adopt(names.build(config(mode="fake-ip")))
        fake = asked(names, "a.example").split()[-1]
        packed = bytes(map(int, fake.split(".")))
        assert names.table.lookup(CLIENT, packed, 0)[:2] == ("a.example", "fake-ip")
        names.adopt(names.build(config(mode="fake-ip", cache_size=5, fake_ip_filter=("b.example",))))
        assert asked(names, "a.example").split()[-1] == fake
        assert names.current is not None
        assert names.current.fakes is not None
        assert not names.current.fakes.wants("b.example")
        names.adopt(names.build(config()))
        assert names.table.lookup(CLIENT, packed, 0)[:2] == ("a.example", "fake-ip")


def test_only_wanted_names_get_fake_addresses() -> None:
    with live() as (_, names):
        dns = names.build(config(mode="fake-ip", hosts=HOSTS))
        names.adopt(dns, lambda host: host == "a.example")
        assert asked(names, "a.example").split()[-1].startswith("198.18.")
        reply = Reply()
        names.on_datagram(CLIENT, 4000, bytes(4), 53, query("b.example", "A"), reply)
        assert reply.sent == []  # somebody has to be asked
        names.adopt(dns)
        assert asked(names, "b.example").split()[-1].startswith("198.18.")


def test_names_are_resolved_by_our_servers_or_else_the_systems() -> None:
    with live() as (loop, names):
        names.adopt(names.build(config(hosts=HOSTS)))
        assert loop.run_until_complete(names.resolve("nas.lan")) == ["192.168.1.9"]
        names.adopt(None)
        assert "127.0.0.1" in loop.run_until_complete(names.resolve("localhost"))


def test_resolvers_of_plugins_are_made_anew_with_each_policy_where_they_are_named() -> None:
    async def look_up(name: str) -> list[str]:
        return ["192.0.2.7"] if name == "www.example" else []

    with live() as (loop, names):
        plain = config()
        first = names.build(plain, {"racks": look_up})
        names.adopt(first)
        assert names.build(plain, {"racks": look_up}) is first, "nobody asks the plugin"
        named = DnsConfig(servers=("racks",), hosts_file=False)
        second = names.build(named, {"racks": look_up})
        names.adopt(second)
        assert loop.run_until_complete(names.resolve("www.example")) == ["192.0.2.7"]
        third = names.build(named, {"racks": look_up})
        assert third is not second
        names.adopt(third)
        with pytest.raises(ConfigError, match="resolver 'racks': nobody to ask for its address"):
            names.build(named)  # the plugin has gone: what is left is a name


def test_fake_addresses_are_kept_in_the_file_that_was_opened_for_us(tmp_path: Path) -> None:
    path = tmp_path / "fake"
    files = open_files(path)
    path.rename(tmp_path / "elsewhere")  # where this process would not find it
    (tmp_path / "fake").mkdir()
    with live() as (_, names):
        wanted = replace(config(mode="fake-ip"), fake_ip_file=str(path))
        with pytest.raises(ConfigError, match="cannot open"):
            names.build(wanted)
        names.take_fake_files(files.fd, files.lock_fd)
        names.adopt(names.build(wanted))
        asked(names, "a.example")
    assert b" a.example " in (tmp_path / "elsewhere").read_bytes()
    assert not is_open(files.fd)


def test_file_that_no_policy_needs_is_let_go_of(tmp_path: Path) -> None:
    taken = [open_files(tmp_path / name) for name in ("a", "b", "c")]
    with live() as (_, names):
        for each in taken[:2]:
            names.take_fake_files(each.fd, each.lock_fd)
        assert [is_open(each.fd) for each in taken] == [False, True, True]
        names.adopt(names.build(config()))
        assert not is_open(taken[1].lock_fd)
        names.take_fake_files(taken[2].fd, taken[2].lock_fd)
    assert not is_open(taken[2].fd)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


class Life:
    """As much of a flow's as matters here: its target."""

    def __init__(self, target: str) -> None:
        self.info = FlowInfo("tcp", CLIENT, 4000, packed(target), 443)


def test_supervisor_is_told_who_answers_and_what_leads_to_fake_addresses() -> None:
    with live() as (_, names):
        nobody = {"is_answering": False, "has_fakes": False, "fake_flows": 0, "fake_seconds": None}
        assert names.state() == nobody
        names.adopt(names.build(config()))
        assert names.state() == {**nobody, "is_answering": True}
        names.adopt(names.build(config(mode="fake-ip")))
        assert names.state() == {**nobody, "is_answering": True}
        fake = asked(names, "www.example").split()[-1]
        flows = [Life(fake), Life("192.0.2.1"), Life(fake)]
        names.lives = (lambda: flows[:2], lambda: flows[2:])  # type: ignore[return-value]
        state = names.state()
        assert (state["has_fakes"], state["fake_flows"]) == (True, 2)
        assert 0 <= state["fake_seconds"] < 60  # type: ignore[operator]


def test_drained_fakes_stand_for_their_names_and_nobody_gets_one() -> None:
    with live() as (_, names):
        names.adopt(names.build(config(mode="fake-ip", hosts={"other.example": "192.0.2.9"})))
        fake = packed(asked(names, "www.example").split()[-1])
        assert names.drain()["has_fakes"] is True
        assert names.table.fakes.name_of(fake) == "www.example"
        assert not names.table.fakes.wants("www.example")  # type: ignore[attr-defined]
        assert asked(names, "other.example").endswith("192.0.2.9")


def test_next_policy_asks_the_resolvers_of_another_network() -> None:
    with live("192.0.2.1") as (_, names):
        plain = DnsConfig(hosts_file=False)
        names.adopt(names.build(plain))
        assert list(names.statistics()["resolvers"]) == ["192.0.2.1"]  # type: ignore[call-overload]
        for nonsense in ({}, {"resolvers": []}, {"resolvers": [1]}, {"resolvers": "192.0.2.3"}):
            assert names.take_resolvers(nonsense) == {"resolvers": ["192.0.2.1"]}
        assert names.take_resolvers({"resolvers": ["192.0.2.2"]}) == {"resolvers": ["192.0.2.2"]}
        names.adopt(names.build(plain))
        assert list(names.statistics()["resolvers"]) == ["192.0.2.2"]  # type: ignore[call-overload]


def test_other_resolvers_of_the_host_find_what_is_known_and_other_settings_do_not() -> None:
    with live("192.0.2.53") as (_, names):
        system = DnsConfig(hosts_file=False, fake_ip_file="")
        first = names.build(system)
        assert first is not None
        names.adopt(first)
        names.take_resolvers({"resolvers": ["198.51.100.53"]})
        second = names.build(system)
        assert second is not None
        assert second is not first
        assert second.server.cache is first.server.cache
        names.adopt(second)
        third = names.build(DnsConfig(hosts_file=False, fake_ip_file="", serve_stale=5))
        assert third is not None
        assert third.server.cache is not second.server.cache


def test_renewed_names_close_connections_to_resolvers(monkeypatch: pytest.MonkeyPatch) -> None:
    with live() as (loop, names):
        names.renew()  # nobody answers: nothing to do
        names.adopt(names.build(config()))
        assert names.current is not None
        renewed: list[int] = []

        async def renew() -> None:
            renewed.append(1)

        monkeypatch.setattr(names.current.server, "renew", renew)
        names.renew()
        loop.run_until_complete(turns(0.01))
        assert renewed == [1]
