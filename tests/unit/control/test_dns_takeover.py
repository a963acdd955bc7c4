"""resolved asks us exactly as long as we answer, whatever others do meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from dbus_fast import Variant

from tests.unit.control.name_workers import NameWorker, name_worker
from tests.unit.host.buses import Answer, Peer, PeerError, system_bus
from tests.unit.host.test_resolved import MANAGER, link, play, server
from tests.unit.waiting import until
from tunproxy.control import dns_takeover
from tunproxy.control.dns_takeover import DnsTakeover
from tunproxy.control.host_resolvers import HostResolvers
from tunproxy.host import resolved
from tunproxy.host.bus import VARIABLE, SystemBus

pytestmark = pytest.mark.needs("dbus-daemon")

OURS = "10.231.77.2"
TUN = 7


class World:
    """A resolved with an uplink and our link, which does what it is told."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.peer = Peer()
        self.links = {
            2: link(server("192.0.2.53"), DefaultRoute=Variant("b", True)),
            TUN: link(),
        }
        self.told: list[str] = []
        self.answered = 0  # how often workers have begun to answer
        self.set_up()

    def set_up(self) -> None:
        play(self.peer, self.links)
        self.peer.answers |= {"SetLinkDomains": self._take, "RevertLink": self._revert}

    def put(self, index: int, properties: dict[str, Variant]) -> None:
        self.links[index] = properties
        self.peer.properties[f"{MANAGER}/link/_{index}"] = properties
        servers = [[index, *each] for index, known in self.links.items() for each in known["DNSEx"].value]
        self.peer.properties[MANAGER] = {"DNSEx": Variant("a(iiayqs)", servers)}

    def count(self) -> None:
        self.answered += 1

    def refuse(self, *_: object) -> Answer:
        raise PeerError("org.freedesktop.DBus.Error.AccessDenied", "no")

    @property
    def asks_us(self) -> bool:
        return bool(self.links[TUN]["Domains"].value)

    def _take(self, index: int, _: object) -> Answer:
        self.put(index, link(server(OURS), domains=((".", True),)))
        return "", []

    def _revert(self, index: int) -> Answer:
        self.put(index, link())
        return "", []


class Followed(HostResolvers):
    """In place of those of this machine."""

    async def follow(self, bus: SystemBus | None, tun: int) -> None:
        assert tun == TUN


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    names = {2: "eth0", 5: "wg0", TUN: "tun0"}
    monkeypatch.setattr(resolved.socket, "if_indextoname", names.__getitem__)
    monkeypatch.setattr(dns_takeover, "_index", lambda name: TUN)
    monkeypatch.setattr(dns_takeover, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(dns_takeover, "LOOK_SECONDS", 0.05)
    with system_bus(tmp_path) as address:
        monkeypatch.setenv(VARIABLE, address)
        made = World(address)
        monkeypatch.setattr(dns_takeover, "tell", made.told.append)

        yield made


def play_with(
    world: World,
    then: Callable[[DnsTakeover, NameWorker], Awaitable[None]],
    *,
    is_there: bool = True,
    why_not: str = "",
    **state: object,
) -> None:
    async def check() -> None:
        if is_there:
            await world.peer.appear(world.address, resolved.NAME)
        with name_worker(**state) as worker:
            takeover = DnsTakeover(
                "tun0",
                [worker.questions],
                resolvers=Followed([worker.questions], ["192.0.2.53"]),
                why_not=why_not,
                on_answering=world.count,
            )
            async with takeover.holding():
                await then(takeover, worker)
        if is_there:
            world.peer.vanish()

    asyncio.run(check())


def test_it_asks_us_while_we_serve_and_then_no_more(world: World) -> None:
    async def then(takeover: DnsTakeover, worker: NameWorker) -> None:
        await until(lambda: takeover.state == "taken")
        assert world.asks_us
        before = len(world.peer.asked)
        await takeover.flush()
        changed = [each for each in world.peer.asked[before:] if each[0] != "GetLink"]  # which only asks
        assert changed == [("FlushCaches",)]
        assert (takeover.problems(), takeover.document()["set_again"]) == ([], 0)

    play_with(world, then)
    assert not world.asks_us
    assert world.peer.asked[-2:] == [("RevertLink", TUN), ("FlushCaches",)]


def test_it_asks_us_only_where_we_answer(world: World) -> None:
    async def then(takeover: DnsTakeover, worker: NameWorker) -> None:
        await until(lambda: worker.asked.count("names") > 2)
        assert (takeover.state, world.asks_us) == ("not-wanted", False)
        worker.state["is_answering"] = True
        takeover.look_again()
        await until(lambda: takeover.state == "taken")
        worker.state["is_answering"] = False
        await until(lambda: takeover.state == "not-wanted")
        assert not world.asks_us

    play_with(world, then, is_answering=False)
    assert world.answered == 1


def test_it_is_left_alone_where_the_user_wants_that(world: World) -> None:
    async def then(takeover: DnsTakeover, worker: NameWorker) -> None:
        await until(lambda: takeover.is_answering and worker.asked.count("names") > 2)
        assert (takeover.state, world.asks_us) == ("not-wanted", False)
        assert takeover.why == "the user wants that"

    play_with(world, then, why_not="the user wants that")


def test_worker_that_has_just_died_changes_nothing(world: World) -> None:
    async def then(takeover: DnsTakeover, worker: NameWorker) -> None:
        await until(lambda: takeover.state == "taken")
        worker.close()
        await asyncio.sleep(0.2)
        assert (takeover.state, world.asks_us) == ("taken", True)

    play_with(world, then)


def test_what_others_reset_is_set_again_and_told_where_it_is_often(world: World) -> None:
    async def then(takeover: DnsTakeover, worker: NameWorker) -> None:
        for times in range(6):
            await until(lambda: takeover.state == "taken" and world.asks_us)
            await until(lambda times=times: takeover.set_again == times)  # type: ignore[misc]
            world.put(TUN, link())
            await world.peer.tell_changed(MANAGER, "org.freedesktop.resolve1.Manager", "DNS")
        await until(lambda: takeover.set_again == 6)
        await until(lambda: bool(world.told))
        assert "somebody has reset what systemd-resolved knows of tun0" in world.told[0]

    play_with(world, then)


def test_one_that_starts_anew_or_late_is_told_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_takeover, "LOOK_SECONDS", 1000)

    async def then(takeover: DnsTakeover, worker: NameWorker) -> None:
        await until(lambda: takeover.state == "absent")
        for _ in range(2):
            world.peer, world.links[TUN] = Peer(), link()
            world.set_up()
            await world.peer.appear(world.address, resolved.NAME)
            await until(lambda: takeover.state == "taken" and world.asks_us)
            world.peer.vanish()
            await until(lambda: takeover.state == "absent")
        assert takeover.problems() == world.told == []

    play_with(world, then, is_there=False)


def test_refusal_is_told_once_and_tried_again(world: World) -> None:
    world.peer.answers["SetLinkDNS"] = world.refuse

    async def then(takeover: DnsTakeover, worker: NameWorker) -> None:
        await until(lambda: [each[0] for each in world.peer.asked].count("SetLinkDNS") > 2)
        [told] = world.told
        assert told.startswith(
            "systemd-resolved does not ask us: org.freedesktop.resolve1: SetLinkDNS: not permitted ("
        )
        assert (takeover.state, takeover.problems()) == ("refused", [told])
        world.peer.answers["SetLinkDNS"] = lambda *_: ("", [])
        await until(lambda: takeover.state == "taken")
        assert takeover.problems() == []

    play_with(world, then)


def test_others_who_have_names_of_their_own_are_named(world: World) -> None:
    world.put(5, link(server("10.66.0.1"), domains=((".", True),)))
    world.put(2, link(server("192.0.2.53"), domains=(("corp.example", False),)))
    world.set_up()

    async def then(takeover: DnsTakeover, worker: NameWorker) -> None:
        await until(lambda: takeover.rivals == ("wg0",))
        assert takeover.claimed == {"eth0": ("corp.example",)}
        assert takeover.claims() == "systemd-resolved asks names of corp.example of eth0"
        await until(lambda: bool(world.told))
        [told] = world.told
        assert takeover.problems() == [told]
        what = "systemd-resolved asks wg0 for every name as well as us"
        assert told == f"{what} (take ~. from it: resolvectl domain wg0 '')"

    play_with(world, then)


def test_without_a_bus_nothing_happens(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"unix:path={tmp_path}/nobody")
    monkeypatch.setattr(dns_takeover, "RUNTIME", tmp_path / "resolve")

    async def then(takeover: DnsTakeover, worker: NameWorker) -> None:
        await until(lambda: takeover.state == "no-bus")
        assert takeover.why == "cannot use the system bus: no such file or directory"
        assert takeover.problems() == []
        (tmp_path / "resolve").mkdir()
        await until(lambda: bool(world.told))
        assert world.told[0].startswith(f"systemd-resolved does not ask us: {takeover.why} (")

    play_with(world, then, is_there=False)
