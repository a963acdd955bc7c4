"""A way for datagrams lives as long as its control stream, a stream until somebody closes it."""

import asyncio
import socket

import pytest

from tunproxy.flow.framing import Framing
from tunproxy.flow.stream_framing import StreamFraming
from tunproxy.upstream.datagrams import READ_SIZE, DatagramStream, DatagramWay

pytestmark = pytest.mark.filterwarnings("error")


def way(control: socket.socket | None) -> DatagramWay:
    if control is not None:
        control.setblocking(False)
    return DatagramWay(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), Framing(), control)


def test_ended_waits_for_the_end_of_the_control_stream_whatever_it_says() -> None:
    async def run() -> list[bool]:
        ours, theirs = socket.socketpair()
        made = way(ours)
        waiting = asyncio.ensure_future(made.ended())
        theirs.sendall(b"chatter")
        await asyncio.sleep(0.01)
        states = [waiting.done()]
        theirs.close()
        await asyncio.wait_for(waiting, 5)
        made.close()
        return [*states, waiting.done(), ours.fileno() < 0]

    assert asyncio.run(run()) == [False, True, True]


def test_ended_leaves_others_their_turns_while_there_is_more_to_hear() -> None:
    async def run() -> int:
        ours, theirs = socket.socketpair()
        theirs.sendall(bytes(8 * READ_SIZE))
        made, turns = way(ours), 0
        waiting = asyncio.ensure_future(made.ended())
        theirs.close()
        while not waiting.done():
            turns += 1
            await asyncio.sleep(0)
        made.close()
        return turns

    assert asyncio.run(run()) >= 8


def test_ended_without_a_control_stream_never_comes() -> None:
    async def run() -> None:
        made = way(None)
        try:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(made.ended(), 0.01)
        finally:
            made.close()

    asyncio.run(run())


def test_stream_is_the_packet_paths_to_read_and_its_end_is_never_told() -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        made = DatagramStream(ours, StreamFraming())
        theirs.close()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(made.ended(), 0.01)
        made.close()
        assert ours.fileno() < 0

    asyncio.run(run())
