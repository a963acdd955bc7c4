"""The system bus: a real dbus-daemon, and who is on it."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbus_fast import Variant

from tests.unit.host.buses import Peer, PeerError, connected, system_bus
from tests.unit.waiting import until
from tunproxy.host import bus as bus_module
from tunproxy.host.bus import VARIABLE, BusError, connect, has_bus

pytestmark = pytest.mark.needs("dbus-daemon")

NAME = "org.example.Peer"
WHERE = (NAME, "/org/example", "org.example.Interface")


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with system_bus(tmp_path) as found:
        monkeypatch.setenv(VARIABLE, found)
        yield found


def test_values_come_and_go_without_variants(address: str) -> None:
    async def check() -> None:
        peer = Peer()
        peer.answers["Add"] = lambda one, many: ("ia{sv}", [one + len(many), {"x": Variant("as", ["y"])}])
        peer.properties["/org/example"] = {
            "A": Variant("a(ii)", [[1, 2]]),
            "B": Variant("v", Variant("s", "b")),
        }
        await peer.appear(address, NAME)
        async with connected() as bus:
            assert await bus.call(*WHERE, "Add", "ia(is)", 3, [[1, "a"], [2, "b"]]) == [5, {"x": ["y"]}]
            assert await bus.properties(*WHERE) == {"A": [[1, 2]], "B": "b"}
            assert peer.asked == [("Add", 3, [[1, "a"], [2, "b"]])]
        peer.vanish()

    asyncio.run(check())


def test_error_says_who_refused_what_and_why(address: str) -> None:
    async def check() -> None:
        peer = Peer()

        def refuse() -> None:
            raise PeerError("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", "…")

        def complain() -> None:
            raise PeerError("org.example.Sorry", "not today")

        peer.answers |= {"Refuse": refuse, "Complain": complain}  # type: ignore[dict-item]
        await peer.appear(address, NAME)
        async with connected() as bus:
            with pytest.raises(BusError) as refused:
                await bus.call(*WHERE, "Refuse")
            assert str(refused.value) == f"{NAME}: Refuse: not permitted (polkit wants to ask somebody)"
            with pytest.raises(BusError) as complained:
                await bus.call(*WHERE, "Complain")
            assert (str(complained.value), complained.value.name) == (f"{NAME}: Complain: not today", "Sorry")
            peer.vanish()
            await until_gone(bus)
            with pytest.raises(BusError, match=f"^{NAME}: Refuse: it does not run$"):
                await bus.call(*WHERE, "Refuse")

    asyncio.run(check())


async def until_gone(bus: bus_module.SystemBus) -> None:
    async with asyncio.timeout(10):
        while await bus.has(NAME):
            await asyncio.sleep(0.01)


def test_who_does_not_answer_is_not_waited_for(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "ANSWER_SECONDS", 0.2)

    async def check() -> None:
        peer = Peer()
        await peer.appear(address, NAME)
        peer._on_message = lambda message: True  # type: ignore[method-assign, assignment, return-value]
        peer._bus._user_message_handlers[:] = [lambda message: True]
        async with connected() as bus:
            with pytest.raises(BusError, match=r"no answer in 0\.2 s$"):
                await bus.call(*WHERE, "Anything")
        peer.vanish()

    asyncio.run(check())


def test_owners_and_properties_are_watched(address: str) -> None:
    async def check() -> None:
        owners: list[bool] = []
        changes: list[int] = []
        async with connected() as bus:
            await bus.watch(NAME, owners.append)
            await bus.watch_properties(NAME, "/org/example", frozenset(("A",)), lambda: changes.append(1))
            peer = Peer()
            await peer.appear(address, NAME)
            await until(lambda: owners == [True])
            await peer.tell_changed("/org/example", WHERE[2], "B")
            await peer.tell_changed("/org/other", WHERE[2], "A")
            await peer.tell_changed("/org/example", WHERE[2], "A")
            await until(lambda: changes == [1])
            peer.vanish()
            await until(lambda: owners == [True, False])

    asyncio.run(check())


def test_who_is_here_serves_our_network(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        peer = Peer()
        async with connected() as bus:
            assert not await bus.is_here(NAME)
            await peer.appear(address, NAME)
            assert await bus.is_here(NAME)
            monkeypatch.setattr(os, "readlink", lambda path: path)  # another namespace for every process
            assert not await bus.is_here(NAME)

            def denied(path: str) -> str:
                raise PermissionError(13, "Permission denied")

            monkeypatch.setattr(os, "readlink", denied)
            with pytest.raises(BusError, match=r"permission denied \(needs CAP_SYS_PTRACE\)$"):
                await bus.is_here(NAME)
        peer.vanish()

    asyncio.run(check())


def test_no_bus_is_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"unix:path={tmp_path}/nobody")
    with pytest.raises(BusError, match=r"^cannot use the system bus: no such file or directory$"):
        asyncio.run(connect())
    monkeypatch.setenv(VARIABLE, "nonsense")
    with pytest.raises(BusError, match=r"^cannot use the system bus: .+$"):
        asyncio.run(connect())


def test_bus_is_where_its_variable_or_its_socket_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "SOCKETS", (str(tmp_path / "socket"),))
    assert not has_bus({})
    assert has_bus({VARIABLE: "unix:path=/somewhere"})
    (tmp_path / "socket").touch()
    assert has_bus({})


def test_signals_are_heard_with_what_they_say(address: str) -> None:
    async def check() -> None:
        peer = Peer()
        await peer.appear(address, NAME)
        heard: list[list[object]] = []
        async with connected() as bus:
            await bus.watch_signal(NAME, "/org/example", "org.example.Interface", "Rang", heard.append)
            await peer.signal("/org/example", "org.example.Interface", "Other", "b", True)
            await peer.signal("/org/example", "org.example.Interface", "Rang", "bv", True, Variant("s", "x"))
            await until(lambda: len(heard) > 0)
            assert heard == [[True, "x"]]
        peer.vanish()

    asyncio.run(check())
