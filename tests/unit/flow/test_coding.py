"""A stream that is transformed on its way: nothing lost, nothing spoiled passed on."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.unit.flow.rig import Client, FakeOpener, Rig, read_exactly
from tunproxy.flow.codec import Codec
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.verdict import OPEN, Verdict
from tunproxy.wire.tcp import ACK, FIN, RST


class Lines(Codec):
    """Turns the case of letters, sends whole lines only until flush, says "." at the end, hates digits."""

    def __init__(self) -> None:
        self.kept = b""
        self.said = b""
        self.ended = False

    def encode(self, data: bytes | memoryview) -> bytes:
        self.kept += bytes(data).swapcase()
        whole, end, rest = self.kept.rpartition(b"\n")
        self.kept = rest
        return whole + end

    def flush(self) -> bytes:
        kept, self.kept = self.kept, b""
        return kept

    def end(self) -> bytes:
        return b"."

    def decode(self, data: bytes) -> bytes:
        if any(48 <= octet < 58 for octet in data):
            raise ValueError("digits")
        if b"?" in data:
            self.said += b"!"
        self.ended = self.ended or data.endswith(b".")
        return data.replace(b"?", b"").removesuffix(b".").swapcase()

    def answer(self) -> bytes:
        said, self.said = self.said, b""
        return said

    def has_ended(self) -> bool:
        return self.ended

    def decode_end(self) -> bytes:
        if not self.ended:
            raise ConnectionResetError("cut off")
        return b""


class Noting(FakeOpener):
    def __init__(self) -> None:
        super().__init__()
        self.spoiled: list[str] = []

    def on_spoiled(self, upstream: str, error: BaseException) -> None:
        self.spoiled.append(f"{upstream}: {error}")


@contextlib.contextmanager
def coded(rest: bytes = b"") -> Iterator[tuple[Rig, Client, socket.socket, Noting]]:
    """Yield a rig, a client whose flow is open, the upstream's end of it, and the opener."""
    opener = Noting()
    rig = Rig(decider=StaticDecider(Verdict(OPEN, "proxy")), opener=opener)
    with contextlib.closing(rig):
        client = Client(rig)
        client.syn()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            upstream, _ = listener.accept()
        ours.setblocking(False)
        with upstream:
            opener.asked[0].request.opened(ours, rest, Lines())
            rig.until(lambda: client.received)
            client.says(ACK)
            yield rig, client, upstream, opener


def test_both_directions_go_through_the_codec() -> None:
    with coded() as (rig, client, upstream, _):
        client.send(b"Up\n")
        assert read_exactly(rig, upstream, 3) == b"uP\n"
        upstream.sendall(b"Down")
        rig.until(lambda: client.stream == b"dOWN")


def test_what_the_codec_keeps_is_flushed_when_the_sender_pauses() -> None:
    with coded() as (rig, client, upstream, _):
        client.send(b"no newline")
        assert read_exactly(rig, upstream, 10) == b"NO NEWLINE"


def test_rest_is_in_the_clear_already() -> None:
    with coded(b"Hello") as (rig, client, _, _):
        rig.until(lambda: client.stream == b"Hello")


def test_codecs_own_answer_is_sent() -> None:
    with coded() as (rig, client, upstream, _):
        upstream.sendall(b"x?y")
        assert read_exactly(rig, upstream, 1) == b"!"
        rig.until(lambda: client.stream == b"XY")


def test_clients_end_is_the_codecs_last_word_and_then_a_fin() -> None:
    with coded() as (rig, client, upstream, _):
        client.says(FIN | ACK, b"bye")
        assert read_exactly(rig, upstream, 4) == b"BYE."
        rig.run(0.02)
        assert upstream.recv(1) == b""
        upstream.sendall(b"still here.")
        rig.until(lambda: client.stream == b"STILL HERE" and client.has_fin)
        client.says(ACK)
        rig.run(0.05)
        assert rig.poller.watched == 0


def test_upstreams_end_in_the_codecs_words_is_the_clients_fin() -> None:
    with coded() as (rig, client, upstream, _):
        upstream.sendall(b"bye.")
        rig.until(lambda: client.stream == b"BYE" and client.has_fin)
        client.send(b"more\n")
        assert read_exactly(rig, upstream, 5) == b"MORE\n"


@pytest.mark.parametrize("spoiled", [b"good 1", b""])
def test_spoiled_or_cut_stream_is_a_reset_and_no_octet_more(spoiled: bytes) -> None:
    with coded() as (rig, client, upstream, opener):
        upstream.sendall(b"good ")
        rig.until(lambda: client.stream == b"GOOD ")
        if spoiled:
            upstream.sendall(spoiled)
        else:
            upstream.shutdown(socket.SHUT_WR)
        rig.until(lambda: client.has_rst)
        assert client.stream == b"GOOD "
        assert opener.spoiled == ["proxy: digits" if spoiled else "proxy: cut off"]
        rig.run(0.02)
        assert (len(rig.table), rig.poller.watched) == (0, 0)


def test_upstream_that_does_not_read_holds_the_client_back_and_loses_nothing() -> None:
    with coded() as (rig, client, upstream, _):
        upstream.setblocking(False)
        line = bytes(range(97, 122)) * 40 + b"\n"
        sent = stalled = 0
        while stalled < 20 and sent < 40_000_000:
            if client.seq + len(line) <= client.peer_ack + client.peer_wnd:
                client.send(line)
                sent += len(line)
                stalled = 0
            else:
                rig.turn(0.005)  # acknowledgments may be late, and the upstream's socket takes some more
                stalled += 1
        assert sent < 40_000_000, "the window never closed"
        assert rig.counters.memory_held < 8 << 20
        got = bytearray()

        def is_all_there() -> bool:
            with contextlib.suppress(BlockingIOError):
                got.extend(upstream.recv(1 << 20))
            return len(got) >= sent

        rig.until(is_all_there, 20)
        assert bytes(got) == line.swapcase() * (sent // len(line))


def test_client_that_resets_resets_the_upstream() -> None:
    with coded() as (rig, client, upstream, _):
        client.says(RST)
        rig.run(0.02)
        with pytest.raises(ConnectionResetError):
            upstream.recv(1)
