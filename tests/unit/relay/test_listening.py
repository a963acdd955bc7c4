"""Sockets that clients come in by."""

import asyncio
import errno
import socket

import pytest

from tests.unit.relay.world import WITHIN, run
from tunproxy.errors import ConfigError, SystemChangeError
from tunproxy.relay.addresses import Listen
from tunproxy.relay.listening import Acceptor, bind, reserve


def test_several_workers_share_a_place_and_each_client_comes_to_one() -> None:
    async def talk() -> None:
        held, (place,) = reserve([Listen("127.0.0.1", 0)])
        seen: list[int] = []

        def note(number: int, sock: socket.socket) -> None:
            sock.close()
            seen.append(number)

        acceptors = [Acceptor(bind(place), lambda sock, _, n=n: note(n, sock)) for n in (0, 1)]
        for _ in range(60):
            (await asyncio.to_thread(socket.create_connection, (place.host, place.port))).close()
        while len(seen) < 60:
            await asyncio.sleep(0.01)
        assert set(seen) == {0, 1}
        for each in acceptors:
            each.close()
            each.close()
        with pytest.raises(ConnectionRefusedError):  # what is only held is given nobody
            socket.create_connection((place.host, place.port)).close()
        for sock in held:
            sock.close()

    run(talk)


def test_who_has_come_before_the_end_is_served() -> None:
    async def talk() -> None:
        seen: list[str] = []
        held, (place,) = reserve([Listen("::1", 0)])

        def note(sock: socket.socket, peer: str) -> None:
            sock.close()
            seen.append(peer)

        acceptor = Acceptor(bind(place), note)
        with socket.create_connection((place.host, place.port)) as client:
            acceptor.close()
            assert seen == [f"[::1]:{client.getsockname()[1]}"]
        held[0].close()

    run(talk)


def test_who_comes_in_the_last_moment_is_served_or_told_that_nobody_listens() -> None:
    """However many come while it closes: nobody is connected, and then reset."""

    async def talk() -> None:
        held, (place,) = reserve([Listen("127.0.0.1", 0)])
        served: list[str] = []

        def serve(sock: socket.socket, peer: str) -> None:
            served.append(peer)
            sock.close()

        acceptor = Acceptor(bind(place), serve)
        early = [socket.create_connection((place.host, place.port)) for _ in range(20)]
        acceptor.finish()
        acceptor.finish()
        late = socket.socket()
        late.setblocking(False)
        assert late.connect_ex((place.host, place.port)) == errno.EINPROGRESS
        assert not acceptor.is_closed
        while not acceptor.is_closed:
            await asyncio.sleep(0.01)
        assert sorted(served) == sorted(f"127.0.0.1:{sock.getsockname()[1]}" for sock in early)
        for sock in early:
            sock.settimeout(WITHIN)
            assert await asyncio.to_thread(sock.recv, 10) == b""  # and no reset
            sock.close()
        late.close()
        held[0].close()

    run(talk)


def test_place_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemChangeError, match="another program listens there"):
            reserve([Listen("127.0.0.1", port)])
    with pytest.raises(SystemChangeError, match="this host has no such address"):
        reserve([Listen("192.0.2.77", 8080)])
    held, found = reserve([Listen("127.0.0.1", 0)])
    held[0].close()
    with pytest.raises(ConfigError, match="twice"):
        reserve([found[0], found[0]])


def test_other_relay_at_the_same_place_is_told() -> None:
    async def talk() -> None:
        held, (place,) = reserve([Listen("127.0.0.1", 0)])
        acceptor = Acceptor(bind(place), lambda sock, _: sock.close())
        with pytest.raises(SystemChangeError, match="another program listens there"):
            reserve([place])
        acceptor.close()
        held[0].close()

    run(talk)


class Exhausted:
    """A listening socket whose process has no descriptor left, for a while."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.left = 2

    def accept(self) -> tuple[socket.socket, object]:
        if self.left:
            self.left -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self._sock.accept()

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)


def test_no_descriptor_left_is_a_pause(caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        seen: list[str] = []
        held, (place,) = reserve([Listen("127.0.0.1", 0)])
        exhausted = Exhausted(bind(place))

        def note(sock: socket.socket, peer: str) -> None:
            sock.close()
            seen.append(peer)

        acceptor = Acceptor(exhausted, note)  # type: ignore[arg-type]
        with socket.create_connection((place.host, place.port)):
            while not seen:
                await asyncio.sleep(0.01)
        assert exhausted.left == 0
        acceptor.close()
        held[0].close()

    run(talk)
    assert caplog.text.count("cannot accept: too many open files") == 1
