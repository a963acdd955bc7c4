"""Servers that are written down."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from tunproxy.flow.conversation import Conversation
from tunproxy.testkit.script import Script
from tunproxy.testkit.virtual import VirtualLoop

Client = Callable[[socket.socket], Awaitable[bytes]]


class Greeting(Conversation):
    def begin(self) -> bytes:
        self.said = b""
        return b"hi\n"

    def heard(self, data: bytes) -> bytes:
        self.said += data
        _, end, rest = self.said.partition(b"\n")
        self.is_over, self.rest = bool(end), rest
        return b"thanks\n" if end else b""


def perform(script: Script, client: Client) -> bytes:
    loop = VirtualLoop()

    async def both() -> bytes:
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)

        async def serve() -> None:
            with theirs:
                await script.perform(theirs)

        server = asyncio.create_task(serve())
        with ours:
            heard = await client(ours)
        await server
        return heard

    try:
        return loop.run(both())
    finally:
        loop.close()


async def polite(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, b"h")
    await asyncio.sleep(1)
    await loop.sock_sendall(sock, b"i\nmore")
    return await loop.sock_recv(sock, 100)


async def blunt(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, b"hi\n")
    return await loop.sock_recv(sock, 100)


def test_perform_says_its_lines_in_turn() -> None:
    script = Script().expects(b"hi\n").waits(5).sends(b"ok")
    assert perform(script, polite) == b"ok"
    assert (script.is_done, script.rest) == (True, b"more")


def test_perform_hangs_up_where_it_says_so() -> None:
    async def listen(sock: socket.socket) -> bytes:
        await asyncio.sleep(1)
        return b""

    script = Script().closes().sends(b"never")
    assert perform(script, listen) == b""
    assert script.is_done


def test_perform_other_words_are_a_failed_assertion() -> None:
    with pytest.raises(AssertionError, match=r"expected b'yo\\n', and heard b'h"):
        perform(Script().expects(b"yo\n"), blunt)


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_play_needs_no_socket(cut: int) -> None:
    script = Script().expects(b"hi\n").sends(b"hello\nrest").expects(b"thanks\n")
    assert script.play(Greeting(), cut=cut) == b"rest"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (Script().expects(b"yo\n"), "the server expected"),
        (Script().expects(b"hi\n").sends(b"hel"), "the conversation is not"),
        (Script().expects(b"hi\n").sends(b"hello\n"), "says more than the script expects: b'thanks"),
    ],
)
def test_play_where_they_disagree_is_a_failed_assertion(script: Script, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        script.play(Greeting())
