"""Flows: octets, ends, resets, backpressure, codecs that spoil and codecs that unfold, and limits."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest

from tests.unit.codecs.answering import Answering
from tests.unit.codecs.streams import noise
from tests.unit.relay.world import pair, run, tally_of
from tunproxy.codecs.named import make
from tunproxy.flow.codec import Codec, CodecError
from tunproxy.relay.limits import Account
from tunproxy.relay.pump import CLOSED, MOST_UNTAKEN, Flow

MEGABYTE = 1 << 20


class Ends:
    """A flow, and whoever is at its two ends."""

    def __init__(self, codec: Codec | None = None, rate: int = 0) -> None:
        loop = asyncio.get_running_loop()
        ours, self.client = pair()
        other, self.target = pair()
        self.why: asyncio.Future[str] = loop.create_future()
        self.account = Account(0, "joe", 0, rate, tally_of("joe"), loop.time)
        self.account.begin()
        self.flow = Flow(ours, codec, other, self.account, lambda _, why: self.why.set_result(why))


def flowing(
    talk: Callable[[Ends], Awaitable[None]], codec: Codec | None = None, early: bytes = b"", rate: int = 0
) -> Ends:
    async def whole() -> Ends:
        ends = Ends(codec, rate)
        ends.flow.start(early)
        try:
            await talk(ends)
        finally:
            ends.flow.cut("test over")
            ends.client.close()
            ends.target.close()
        return ends

    return run(whole)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 20), b""))


def write_all(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def test_client_that_wants_answers_and_reads_none_fills_no_memory() -> None:
    codec = Answering()

    async def talk(ends: Ends) -> None:
        sent = 0
        while not ends.why.done():
            if codec.heard == sent:
                await asyncio.to_thread(ends.client.sendall, b"?")
                sent += 1
            await asyncio.sleep(0)
            assert len(ends.flow.client.unsent) < MOST_UNTAKEN + 300_000
        assert await ends.why == "the client's stream is spoiled: it wants answers and takes none"

    flowing(talk, codec)


def test_streams_pass_both_ways_and_both_ends_close() -> None:
    async def talk(ends: Ends) -> None:
        up, down = b"u" * 5 * MEGABYTE, b"d" * 3 * MEGABYTE
        heard = await asyncio.gather(
            asyncio.to_thread(write_all, ends.client, up),
            asyncio.to_thread(write_all, ends.target, down),
            asyncio.to_thread(read_all, ends.client),
            asyncio.to_thread(read_all, ends.target),
        )
        assert heard[2] == down
        assert heard[3] == b"early" + up
        assert await ends.why == CLOSED
        assert (ends.flow.up, ends.flow.down) == (len(up) + 5, len(down))

    flowing(talk, early=b"early")


@pytest.mark.parametrize("first", ["client", "target"])
def test_end_of_one_side_is_told_and_the_other_goes_on(first: str) -> None:
    async def talk(ends: Ends) -> None:
        quiet, other = (ends.client, ends.target) if first == "client" else (ends.target, ends.client)
        write_all(quiet, b"that is all")
        assert await asyncio.to_thread(read_all, other) == b"that is all"
        assert ends.flow.is_half_open
        for _ in range(3):
            other.sendall(b"still here")
            assert await asyncio.to_thread(quiet.recv, 100) == b"still here"
        other.close()
        assert await asyncio.to_thread(quiet.recv, 100) == b""
        assert await ends.why == CLOSED

    flowing(talk)


@pytest.mark.parametrize("first", ["client", "target"])
def test_reset_of_one_side_resets_the_other(first: str) -> None:
    async def talk(ends: Ends) -> None:
        gone, other = (ends.client, ends.target) if first == "client" else (ends.target, ends.client)
        reset(gone)
        assert await ends.why == f"reset by the {first}"
        with pytest.raises(ConnectionResetError):
            other.recv(100)

    flowing(talk)


def test_what_was_said_before_a_reset_arrives() -> None:
    async def talk(ends: Ends) -> None:
        ends.target.sendall(b"last words")
        assert await asyncio.to_thread(ends.client.recv, 100) == b"last words"
        reset(ends.target)
        assert await ends.why == "reset by the target"

    flowing(talk)


def test_nobody_reads_so_nobody_writes() -> None:
    async def talk(ends: Ends) -> None:
        ends.client.settimeout(0.5)
        sent = 0

        def fill() -> None:
            nonlocal sent
            try:
                while sent < 512 * MEGABYTE:
                    sent += ends.client.send(bytes(MEGABYTE))
            except TimeoutError:
                pass

        await asyncio.to_thread(fill)
        assert sent < 512 * MEGABYTE
        assert len(ends.flow.target.unsent) <= MEGABYTE
        ends.client.settimeout(20)
        ends.client.shutdown(socket.SHUT_WR)
        assert len(await asyncio.to_thread(read_all, ends.target)) == sent

    flowing(talk)


@pytest.mark.parametrize("name", ["zstd", "gzip"])
def test_codec_stands_between_the_client_and_us(name: str) -> None:
    async def talk(ends: Ends) -> None:
        theirs = make(name)
        words = b'{"number": 7, "text": "said again and again"}\n' * 20_000
        packed = theirs.encode(words) + theirs.end()
        assert len(packed) < len(words) / 5
        writing = asyncio.to_thread(write_all, ends.client, packed)
        heard = (await asyncio.gather(writing, asyncio.to_thread(read_all, ends.target)))[1]
        assert heard == words
        ends.target.sendall(b"prompt")
        assert theirs.decode(await asyncio.to_thread(ends.client.recv, 1000)) == b"prompt"  # flushed at once
        write_all(ends.target, words)
        packed = await asyncio.to_thread(read_all, ends.client)
        found = theirs.decode(packed)
        while theirs.has_more():
            found += theirs.decode(b"")
        assert found + theirs.decode_end() == words
        assert await ends.why == CLOSED

    flowing(talk, make(name))


@pytest.mark.parametrize("size", [0, 4096])
def test_noise_passes_in_pieces_however_little_the_other_takes(size: int) -> None:
    async def talk(ends: Ends) -> None:
        theirs = make("zstd")
        words = noise(3 * MEGABYTE)
        if size:
            for sock in (ends.flow.target.sock, ends.flow.client.sock):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        packed = theirs.encode(words) + theirs.end()
        writing = asyncio.to_thread(write_all, ends.client, packed)
        heard = (await asyncio.gather(writing, asyncio.to_thread(read_all, ends.target)))[1]
        assert heard == words
        writing = asyncio.to_thread(write_all, ends.target, words)
        packed = (await asyncio.gather(writing, asyncio.to_thread(read_all, ends.client)))[1]
        assert len(packed) < len(words) * 1.001
        found = [theirs.decode(packed)]
        while theirs.has_more():
            found.append(theirs.decode(b""))
        assert b"".join(found) + theirs.decode_end() == words
        assert await ends.why == CLOSED
        assert (ends.flow.up, ends.flow.down) == (len(words), len(words))

    flowing(talk, make("zstd"))


def test_few_octets_that_unfold_to_many_wait_for_their_reader() -> None:
    async def talk(ends: Ends) -> None:
        theirs = make("zstd")
        packed = b"".join(theirs.encode(bytes(MEGABYTE)) for _ in range(64)) + theirs.end()
        assert len(packed) < 65_536
        write_all(ends.client, packed)
        await asyncio.sleep(0.3)
        assert len(ends.flow.target.unsent) <= MEGABYTE
        assert len(await asyncio.to_thread(read_all, ends.target)) == 64 * MEGABYTE

    flowing(talk, make("zstd"))


@pytest.mark.parametrize("how", ["garbage", "cut off"])
def test_spoiled_stream_is_a_reset_and_not_an_end(how: str) -> None:
    async def talk(ends: Ends) -> None:
        theirs = make("zstd")
        packed = theirs.encode(b"hello" * 1000) + theirs.end()
        write_all(ends.client, b"garbage" * 9 if how == "garbage" else packed[:-3])
        assert "spoiled" in await ends.why
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(read_all, ends.target)

    flowing(talk, make("zstd"))


class Raising(Codec):
    """A codec that fails when something is to be encoded."""

    def encode(self, data: bytes | memoryview) -> bytes:
        raise CodecError("no")

    def decode(self, data: bytes) -> bytes:
        return data


def test_codec_that_fails_for_the_client_is_a_reset() -> None:
    async def talk(ends: Ends) -> None:
        ends.target.sendall(b"x")
        assert await ends.why == "the stream for the client is spoiled: no"

    flowing(talk, Raising())


def test_rate_slows_the_flow_down() -> None:
    async def talk(ends: Ends) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        writing = asyncio.to_thread(write_all, ends.client, bytes(MEGABYTE))
        heard = (await asyncio.gather(writing, asyncio.to_thread(read_all, ends.target)))[1]
        assert len(heard) == MEGABYTE
        assert loop.time() - began > 0.5  # a second's worth, less what may pass at once

    flowing(talk, rate=MEGABYTE)


def test_cut_is_told_once_and_resets_both() -> None:
    async def talk(ends: Ends) -> None:
        ends.flow.cut("because")
        ends.flow.cut("again")
        assert await ends.why == "because"
        for sock in (ends.client, ends.target):
            with pytest.raises(ConnectionResetError):
                sock.recv(1)

    flowing(talk)
