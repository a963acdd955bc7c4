"""A stream that is transformed on its way: nothing lost, nothing spoiled passed on."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.unit.codecs.answering import Answering
from tests.unit.codecs.streams import noise
from tests.unit.flow.rig import Client, FakeOpener, Rig, read_exactly
from tunproxy.codecs.named import make
from tunproxy.flow.codec import Codec
from tunproxy.flow.coding import MOST_UNSENT
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


class Unfolding(Codec):
    """Each octet that arrives stands for 10,000 times its value, PORTION at once; the end, for 20,000."""

    PORTION = 10_000

    def __init__(self) -> None:
        self.left = b""
        self.count = 0
        self.calls = 0
        self.ended = False

    def encode(self, data: bytes | memoryview) -> bytes:
        return bytes(data)

    def keeps(self) -> bool:
        return False

    def decode(self, data: bytes) -> bytes:
        self.calls += 1
        self.left += data
        if self.count == 0 and self.left:
            self.count, self.left = self.left[0] * 10_000, self.left[1:]
        size = min(self.count, self.PORTION)
        self.count -= size
        return b"x" * size

    def has_more(self) -> bool:
        return self.count > 0 or len(self.left) > 0

    def decode_end(self) -> bytes:
        assert not self.has_more()
        if not self.ended:
            self.ended = True
            self.count = 20_000
        return b""


class Keeping(Codec):
    """Keeps everything until flush, and notes how much it had then."""

    def __init__(self) -> None:
        self.kept = b""
        self.flushed: list[int] = []

    def encode(self, data: bytes | memoryview) -> bytes:
        self.kept += data
        return b""

    def keeps(self) -> bool:
        return len(self.kept) > 0

    def flush(self) -> bytes:
        self.flushed.append(len(self.kept))
        kept, self.kept = self.kept, b""
        return kept

    def decode(self, data: bytes) -> bytes:
        return data


class Passing(Codec):
    """Passes pieces on as they are, with a mark in front of each call's."""

    MARK = b"\xff"

    def encode_pieces(self, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
        return [self.MARK, *pieces]

    def keeps(self) -> bool:
        return False

    def end(self) -> bytes:
        return b"."

    def decode(self, data: bytes) -> bytes:
        return data


class Noting(FakeOpener):
    def __init__(self) -> None:
        super().__init__()
        self.spoiled: list[str] = []

    def on_spoiled(self, upstream: str, error: BaseException) -> None:
        self.spoiled.append(f"{upstream}: {error}")


@contextlib.contextmanager
def coded(
    rest: bytes = b"", codec: Codec | None = None, *, send_buffer: int = 0
) -> Iterator[tuple[Rig, Client, socket.socket, Noting]]:
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
        if send_buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        with upstream:
            opener.asked[0].request.opened(ours, rest, codec or Lines())
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


def test_upstream_that_wants_answers_and_reads_none_fills_no_memory() -> None:
    codec = Answering()
    with coded(codec=codec, send_buffer=4096) as (rig, client, upstream, opener):
        for count in range(200):
            upstream.sendall(b"?")
            rig.until(lambda count=count: codec.heard > count or client.has_rst)
            if client.has_rst:
                break
        assert opener.spoiled == ["proxy: it wants answers and takes none"]
        assert (
            MOST_UNSENT < codec.heard * len(codec.ANSWER) < 2 * MOST_UNSENT + 16_000_000
        )  # the kernel's part


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


def leaves() -> object:
    raise SystemExit(1)


def odd(method: str, act: Callable[[], object]) -> Codec:
    """Return a codec that does in one of its methods what act does."""
    made = type("Odd", (Lines,), {method: lambda self, *given: act()})()
    assert isinstance(made, Codec)
    return made


@pytest.mark.parametrize(
    ("method", "act"),
    [
        *((method, leaves) for method in ("encode_pieces", "keeps", "decode_pieces", "answer", "has_ended")),
        ("decode_pieces", lambda: ["text"]),
        ("decode_pieces", lambda: None),
        ("answer", lambda: "text"),
        ("encode_pieces", lambda: ["text"]),
        ("flush", lambda: None),
    ],
)
def test_codec_that_is_at_fault_costs_its_flow_and_nothing_else(
    method: str, act: Callable[[], object]
) -> None:
    with coded(codec=odd(method, act)) as (rig, client, upstream, opener):
        upstream.sendall(b"word\n")
        client.send(b"word")
        rig.until(lambda: client.has_rst)
        assert len(opener.spoiled) == 1
        assert client.stream in (b"", b"WORD\n"), "nothing that it should not have"
        rig.run(0.02)
        assert (len(rig.table), rig.poller.watched) == (0, 0)


@pytest.mark.parametrize(("method", "act"), [("patience", lambda: "soon"), ("has_more", leaves)])
def test_codec_that_cannot_begin_refuses_the_client(method: str, act: Callable[[], object]) -> None:
    opener = Noting()
    rig = Rig(decider=StaticDecider(Verdict(OPEN, "proxy")), opener=opener)
    ours, theirs = socket.socketpair()
    with contextlib.closing(rig), theirs:
        client = Client(rig)
        client.syn()
        opener.asked[0].request.opened(ours, b"", odd(method, act))
        rig.until(lambda: client.has_rst)
        assert len(opener.spoiled) == 1
        assert (len(rig.table), rig.poller.watched) == (0, 0)
        assert theirs.recv(1) == b"", "the socket is closed"


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


def test_little_that_unfolds_to_much_is_decoded_as_the_client_has_room() -> None:
    codec = Unfolding()
    with coded(codec=codec) as (rig, client, upstream, _):
        client.is_acking = False
        upstream.sendall(b"\xff\xff")  # 5.1 million octets
        rig.until(lambda: codec.calls)
        rig.run(0.15)
        assert codec.calls < 200  # of 510: it waits for room
        assert 0 < rig.counters.memory_held < 2 << 20
        client.is_acking = True
        rig.until(lambda: _acknowledged(client) >= 5_100_000, 20)
        assert not codec.has_more()


def test_what_the_codec_had_before_the_flow_was_open_reaches_the_client() -> None:
    codec = Unfolding()
    codec.decode(b"\x03")
    with coded(codec=codec) as (rig, client, _, _):
        rig.until(lambda: _acknowledged(client) == 20_000)


def test_what_is_left_at_the_end_comes_before_the_fin() -> None:
    with coded(codec=Unfolding()) as (rig, client, upstream, opener):
        upstream.sendall(b"\x05")
        upstream.shutdown(socket.SHUT_WR)
        rig.until(lambda: _acknowledged(client) == 70_000 and client.has_fin)
        assert opener.spoiled == []


def _acknowledged(client: Client) -> int:
    """Acknowledge what has come; return how much that is."""
    client.says(ACK)
    return len(client.stream)


def test_what_comes_in_one_turn_is_flushed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Keeping()
    with coded(codec=codec) as (rig, client, upstream, _):
        now = rig.now()
        monkeypatch.setattr(rig, "now", lambda: now)
        for _ in range(20):
            client.send(b"x" * 100)
        assert codec.flushed == []
        monkeypatch.setattr(rig, "now", lambda: now + 10)
        rig.turn()
        assert codec.flushed == [2000]
        monkeypatch.undo()
        assert read_exactly(rig, upstream, 2000) == b"x" * 2000


def test_sender_that_never_pauses_is_flushed_within_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Keeping()
    with coded(codec=codec) as (rig, client, _, _):
        now = rig.now()
        for count in range(40):
            monkeypatch.setattr(rig, "now", lambda count=count: now + 100 * count)
            client.send(b"x" * 100)
        assert 4 <= len(codec.flushed) <= 8
        assert max(codec.flushed) <= 1000
        monkeypatch.undo()


def test_single_word_is_flushed_by_the_next_turn() -> None:
    codec = Keeping()
    with coded(codec=codec) as (rig, client, upstream, _):
        client.send(b"key")
        for _ in range(3):  # one that brings it, one that brings nothing more, and one that does not matter
            rig.turn(0)
        assert codec.flushed == [3]
        upstream.setblocking(False)
        assert upstream.recv(10) == b"key"


def test_codec_that_keeps_nothing_is_not_asked_to_flush() -> None:
    class Plain(Keeping):
        def encode(self, data: bytes | memoryview) -> bytes:
            return bytes(data)

    codec = Plain()
    with coded(codec=codec) as (rig, client, upstream, _):
        client.send(b"key")
        assert read_exactly(rig, upstream, 3) == b"key"
        rig.run(0.01)
        assert codec.flushed == []


def test_clients_end_flushes_at_once() -> None:
    codec = Keeping()
    with coded(codec=codec) as (rig, client, upstream, _):
        client.says(FIN | ACK, b"bye")
        assert read_exactly(rig, upstream, 3) == b"bye"
        rig.run(0.02)
        assert upstream.recv(1) == b""


@pytest.mark.parametrize("size", [3, 1400])
def test_pieces_are_sent_in_a_row_however_little_the_upstream_takes(size: int) -> None:
    with coded(codec=Passing(), send_buffer=5000) as (rig, client, upstream, _):
        upstream.setblocking(False)
        data = bytes(50 + count % 199 for count in range(600_000 if size > 100 else 3000))
        got = bytearray()

        def drain() -> None:
            with contextlib.suppress(BlockingIOError):
                got.extend(upstream.recv(7777))
            rig.turn()

        client.send_all(data, size, drain=drain)
        client.says(FIN | ACK)
        until = time.monotonic() + 30
        while not got.endswith(b".") and time.monotonic() < until:
            drain()
        assert bytes(got).replace(Passing.MARK, b"") == data + b"."
        assert rig.counters.memory_held == 0


def test_more_pieces_than_the_kernel_takes_at_once_are_all_sent() -> None:
    with coded(codec=Passing()) as (rig, client, upstream, _):
        rig.give(*[client.frame(ACK, b"x" * 30, seq=client.seq + 30 * at) for at in range(2000)])
        client.seq += 60_000
        assert read_exactly(rig, upstream, 60_001) == Passing.MARK + b"x" * 60_000


def test_noise_reaches_the_client_as_it_was_said_in_reads_of_any_size() -> None:
    theirs = make("zstd")
    words = noise(2_000_000)
    packed = memoryview(theirs.encode(words) + theirs.flush())
    with coded(codec=make("zstd")) as (rig, client, upstream, opener):
        upstream.setblocking(False)

        def is_there() -> bool:
            nonlocal packed
            with contextlib.suppress(BlockingIOError):
                packed = packed[upstream.send(packed[:300_000]) :]
            client.says(ACK)
            return len(client.stream) >= len(words)

        rig.until(is_there)
        assert client.stream == words
        assert opener.spoiled == []
