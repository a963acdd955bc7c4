"""asyncio on a selector that serves packets while it waits."""

import asyncio
import selectors
import socket
from collections.abc import Iterator

import pytest

from tests.unit.loop.rig import Rig, syn, tcp_flags
from tunproxy.loop.selector import PacketSelector
from tunproxy.wire.tcp import ACK, SYN


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


@pytest.fixture
def loop(rig: Rig) -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.SelectorEventLoop(PacketSelector(rig.dataplane))
    yield made
    made.close()


def test_coroutines_and_packets_share_the_loop(rig: Rig, loop: asyncio.AbstractEventLoop) -> None:
    async def answer() -> bytes:
        rig.wire.setblocking(False)
        return await loop.sock_recv(rig.wire, 2000)

    with socket.create_server(("127.0.0.1", 0)) as server:
        rig.wire.send(syn(server.getsockname()[1]))
        frame = loop.run_until_complete(asyncio.wait_for(answer(), 5))
    assert tcp_flags(frame) == SYN | ACK


def test_timers_of_asyncio_keep_their_time(loop: asyncio.AbstractEventLoop) -> None:
    begin = loop.time()
    loop.run_until_complete(asyncio.sleep(0.03))
    assert 0.03 <= loop.time() - begin < 30


def test_streams_of_asyncio_work(loop: asyncio.AbstractEventLoop) -> None:
    async def talk() -> bytes:
        server = await asyncio.start_server(
            lambda _, writer: writer.write(b"hi") or writer.close(), "127.0.0.1", 0
        )
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            answer = await reader.read()
            writer.close()
            return answer

    assert loop.run_until_complete(asyncio.wait_for(talk(), 5)) == b"hi"


def test_call_from_another_thread_wakes_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    async def work() -> int:
        return await asyncio.to_thread(lambda: 7)

    assert loop.run_until_complete(asyncio.wait_for(work(), 5)) == 7
    loop.run_until_complete(loop.shutdown_default_executor())


def test_register_twice_raises_key_error(rig: Rig) -> None:
    selector = PacketSelector(rig.dataplane)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        key = selector.register(ours, selectors.EVENT_READ, "data")
        assert selector.get_key(ours) == key
        with pytest.raises(KeyError):
            selector.register(ours, selectors.EVENT_READ)
        selector.unregister(ours)
        assert not selector.get_map()
        with pytest.raises(KeyError):
            selector.unregister(ours)


def test_modify_changes_what_is_reported(rig: Rig) -> None:
    selector = PacketSelector(rig.dataplane)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        selector.register(ours, selectors.EVENT_READ)
        assert selector.select(0) == []
        key = selector.modify(ours, selectors.EVENT_WRITE, 3)
        assert selector.select(1) == [(key, selectors.EVENT_WRITE)]
        assert selector.get_key(ours).data == 3
        selector.unregister(ours)


def test_unregister_finds_a_file_that_was_closed(rig: Rig) -> None:
    selector = PacketSelector(rig.dataplane)
    ours, theirs = socket.socketpair()
    selector.register(ours, selectors.EVENT_READ)
    ours.close()
    theirs.close()
    selector.unregister(ours)
    assert not selector.get_map()


def test_register_of_something_without_descriptor_raises_value_error(rig: Rig) -> None:
    with pytest.raises(ValueError, match="invalid file descriptor"):
        PacketSelector(rig.dataplane).register(-1, selectors.EVENT_READ)
