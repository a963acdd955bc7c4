"""A conversation with a proxy before the client is answered, over real sockets."""

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from tests.unit.flow.rig import Client, Rig, read_exactly
from tunproxy.flow.codec import Codec, CodecError
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.conversing import MAX_WORDS, READ_SIZE, TALK_LIMIT
from tunproxy.flow.ports import Opener
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.verdict import CONVERSE, FlowInfo, Verdict
from tunproxy.wire.tcp import ACK, FIN, RST


class Please(Conversation):
    """Asks, wants to hear "ok\\n"; "more\\n" makes it ask again, "no\\n" raises what a test wants."""

    def __init__(self, info: FlowInfo, error: BaseException) -> None:
        super().__init__()
        self.words = f"please {info}\n".encode()
        self.error = error
        self.text = b""

    def begin(self) -> bytes:
        return self.words

    def heard(self, data: bytes) -> bytes:
        self.text += data
        line, end, rest = self.text.partition(b"\n")
        if not end:
            return b""
        self.text = rest
        if line == b"no":
            raise self.error
        if line == b"more":
            return b"please!\n"
        self.rest = rest
        self.is_over = True
        return b""


class Asker(Opener):
    """Holds such conversations, and notes what failed."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.errors: list[BaseException] = []
        self.spoiled: list[str] = []
        self.make: Callable[[FlowInfo], Conversation] = lambda info: Please(info, error)

    def converse(self, info: FlowInfo, verdict: Verdict) -> Conversation:
        return self.make(info)

    def on_spoiled(self, upstream: str, error: BaseException) -> None:
        self.spoiled.append(f"{upstream}: {error}")

    def explain(self, info: FlowInfo, verdict: Verdict, error: BaseException) -> int:
        self.errors.append(error)
        return getattr(error, "errno", None) or errno.ECONNREFUSED


@contextlib.contextmanager
def behind_proxy(
    error: BaseException | None = None,
) -> Iterator[tuple[Rig, Client, socket.socket, Asker]]:
    """Yield a rig whose flows go through a proxy, a client, the proxy's listener, and the opener."""
    opener = Asker(error or ConnectionRefusedError(errno.ECONNREFUSED, "refused"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        rig = Rig(decider=StaticDecider(Verdict(CONVERSE, "proxy", host, port)), opener=opener)
        with contextlib.closing(rig):
            yield rig, Client(rig), listener, opener


def asked(rig: Rig, listener: socket.socket) -> socket.socket:
    """Return the proxy's side of a connection on which the first words have arrived."""
    proxy, _ = listener.accept()
    words = b"please tcp 10.0.0.2:40000 -> 198.51.100.7:80\n"
    assert read_exactly(rig, proxy, len(words)) == words
    return proxy


def test_client_is_answered_when_the_proxy_has_agreed() -> None:
    with behind_proxy() as (rig, client, listener, _):
        client.syn()
        with asked(rig, listener) as proxy:
            rig.run()
            assert client.received == []
            proxy.sendall(b"ok\n")
            rig.until(lambda: client.received)
            assert client.received[0].names == "SYN ACK"
            client.says(ACK)
            client.send(b"up")
            assert read_exactly(rig, proxy, 2) == b"up"
            proxy.sendall(b"down")
            rig.until(lambda: client.stream == b"down")
            assert rig.counters.flows_opened == 1


def test_words_may_come_in_pieces() -> None:
    with behind_proxy() as (rig, client, listener, _):
        client.syn()
        with asked(rig, listener) as proxy:
            for piece in (b"o", b"k", b"\n"):
                rig.run(0.02)
                assert client.received == []
                proxy.sendall(piece)
            rig.until(lambda: client.received)


def test_conversation_may_take_several_turns() -> None:
    with behind_proxy() as (rig, client, listener, _):
        client.syn()
        with asked(rig, listener) as proxy:
            for _ in range(3):
                proxy.sendall(b"more\n")
                assert read_exactly(rig, proxy, 8) == b"please!\n"
            assert client.received == []
            proxy.sendall(b"ok\n")
            rig.until(lambda: client.received)


def test_octets_behind_the_last_word_reach_the_client_first() -> None:
    with behind_proxy() as (rig, client, listener, _):
        client.syn()
        with asked(rig, listener) as proxy:
            proxy.sendall(b"ok\n220 hello")
            rig.until(lambda: client.received)
            proxy.sendall(b", you")
            client.says(ACK)
            rig.until(lambda: client.stream == b"220 hello, you")


def test_end_together_with_the_last_word_reaches_the_client() -> None:
    with behind_proxy() as (rig, client, listener, _):
        client.syn()
        with asked(rig, listener) as proxy:
            proxy.sendall(b"ok\nbye")
            proxy.shutdown(socket.SHUT_WR)
            rig.until(lambda: client.received)
            client.says(ACK)
            rig.until(lambda: client.stream == b"bye" and client.has_fin)


def test_much_behind_the_last_word_reaches_the_client_whole() -> None:
    with behind_proxy() as (rig, client, listener, _):
        client.syn()
        with asked(rig, listener) as proxy:
            data = bytes(range(256)) * (2 * READ_SIZE // 256)
            proxy.sendall(b"ok\n" + data)
            rig.until(lambda: client.received)
            client.says(ACK)
            rig.until(lambda: client.stream == data)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "reset"),
        (OSError(errno.EHOSTUNREACH, "no route"), "icmp"),
        (TimeoutError(errno.ETIMEDOUT, "silent"), "nothing"),
        (RuntimeError("broken plugin"), "reset"),
        (SystemExit(1), "reset"),
    ],
)
def test_refusal_of_the_proxy_is_what_the_client_gets(error: BaseException, answer: str) -> None:
    with behind_proxy(error) as (rig, client, listener, opener):
        client.syn()
        with asked(rig, listener) as proxy:
            proxy.sendall(b"no\n")
            rig.until(lambda: opener.errors)
            rig.run(0.02)
        assert opener.errors == [error]
        assert bool(rig.other_frames) == (answer == "icmp")
        assert client.has_rst == (answer == "reset")
        assert (len(rig.table), rig.poller.watched) == (0, 0)
        assert rig.counters.flows_refused == 1


def test_proxy_that_cannot_be_reached_refuses_the_client() -> None:
    with behind_proxy() as (rig, client, listener, opener):
        listener.close()
        client.syn()
        rig.until(lambda: client.has_rst)
        assert (len(rig.table), opener.errors) == (0, [])
        rig.pass_time(TALK_LIMIT / 1e6 + 1)
        assert opener.errors == [], "it is not to blame once more for what it never heard"
        assert rig.counters.flows_refused == 1


@pytest.mark.parametrize("error", [RuntimeError("broken"), OSError(errno.EHOSTUNREACH, "no IPv6")])
def test_conversation_that_cannot_be_made_is_explained(error: BaseException) -> None:
    with behind_proxy() as (rig, client, _, opener):

        def fail(info: FlowInfo) -> Conversation:
            raise error

        opener.make = fail
        client.syn()
        rig.run(0.02)
        assert opener.errors == [error]
        assert client.has_rst == isinstance(error, RuntimeError)
        assert bool(rig.other_frames) == isinstance(error, OSError)
        assert (len(rig.table), rig.poller.watched) == (0, 0)


class Odd(Please):
    """Comes up with what are no octets: at once, when it has heard something, or for the client."""

    def __init__(self, info: FlowInfo, when: str) -> None:
        super().__init__(info, RuntimeError())
        self.when = when

    def begin(self) -> bytes:
        return "text" if self.when == "begin" else self.words  # type: ignore[return-value]

    def heard(self, data: bytes) -> bytes:
        super().heard(data)
        if self.when == "rest":
            self.rest = "text"  # type: ignore[assignment]
        return "text" if self.when == "heard" else b""  # type: ignore[return-value]


@pytest.mark.parametrize("when", ["begin", "heard", "rest"])
def test_conversation_that_is_at_fault_is_explained(when: str) -> None:
    with behind_proxy() as (rig, client, listener, opener):
        opener.make = lambda info: Odd(info, when)
        client.syn()
        with listener.accept()[0] as proxy:
            proxy.sendall(b"ok\n")
            rig.until(lambda: client.has_rst)
        assert [type(error) for error in opener.errors] == [TypeError]
        assert (len(rig.table), rig.poller.watched) == (0, 0)


def test_proxy_that_hangs_up_is_explained() -> None:
    with behind_proxy() as (rig, client, listener, opener):
        client.syn()
        asked(rig, listener).close()
        rig.until(lambda: client.has_rst)
        assert "hung up in the middle" in str(opener.errors[0])


def test_proxy_that_has_hung_up_before_it_is_asked_is_explained() -> None:
    """One report says that it is reached and that it has ended."""
    with behind_proxy() as (rig, client, listener, opener):
        client.syn()
        with listener.accept()[0] as proxy:
            proxy.shutdown(socket.SHUT_WR)
            rig.until(lambda: client.has_rst)
        assert "hung up in the middle" in str(opener.errors[0])


def test_proxy_that_speaks_before_it_is_asked_is_heard() -> None:
    with behind_proxy() as (rig, client, listener, _):
        client.syn()
        with listener.accept()[0] as proxy:
            proxy.sendall(b"ok\n220 hello")
            rig.until(lambda: client.received)
            client.says(ACK)
            rig.until(lambda: client.stream == b"220 hello")


def test_proxy_that_never_comes_to_the_point_is_explained() -> None:
    with behind_proxy() as (rig, client, listener, opener):
        client.syn()
        with asked(rig, listener) as proxy:
            proxy.setblocking(False)
            sent = 0
            while not opener.errors and sent < 4 * MAX_WORDS:
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    sent += proxy.send(b"x" * 1000)
                rig.turn()
            rig.until(lambda: client.has_rst)
        assert "not come to the point" in str(opener.errors[0])


def test_proxy_that_says_nothing_is_given_up_in_time() -> None:
    with behind_proxy() as (rig, client, listener, opener):
        client.syn()
        with asked(rig, listener):
            rig.pass_time(TALK_LIMIT / 1e6 - 1)
            assert opener.errors == []
            rig.pass_time(2)
            assert "no answer of the proxy in 30 s" in str(opener.errors[0])
            assert (len(rig.table), rig.poller.watched) == (0, 0)


def test_client_that_gives_up_ends_the_conversation() -> None:
    with behind_proxy() as (rig, client, listener, opener):
        client.syn()
        with asked(rig, listener) as proxy:
            client.says(RST, ack=0)
            rig.run(0.02)
            assert proxy.recv(1) == b""
            assert (len(rig.table), rig.poller.watched) == (0, 0)
            rig.pass_time(TALK_LIMIT / 1e6 + 1)
            assert opener.errors == [], "nobody waits for the proxy's answer any more"


class Swapping(Codec):
    """Turns the case of letters; says "<" before everything, with the client's words if they come soon."""

    def __init__(self, patience: int) -> None:
        self.waits = patience
        self.has_begun = False
        self.is_reset_told = False

    def keeps(self) -> bool:
        return not self.has_begun

    def patience(self) -> int:
        return -1 if self.has_begun else self.waits

    def encode(self, data: bytes | memoryview) -> bytes:
        first = b"" if self.has_begun else b"<"
        self.has_begun = True
        return first + bytes(data).swapcase()

    def flush(self) -> bytes:
        return b"" if self.has_begun else self.encode(b"")

    def end(self) -> bytes:
        return self.flush()

    def decode(self, data: bytes) -> bytes:
        return data.swapcase()

    def on_reset(self) -> None:
        if self.is_reset_told:
            raise CodecError("so that is it")


class Bringing(Conversation):
    """Has nothing to say, and brings a codec."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec
        self.is_over = True

    def begin(self) -> bytes:
        return b""


@contextlib.contextmanager
def swapped(codec: Swapping) -> Iterator[tuple[Rig, Client, socket.socket, Asker]]:
    """Yield a rig, a client whose flow goes through a codec, the proxy's end of it, and the opener."""
    with behind_proxy() as (rig, client, listener, opener):
        opener.make = lambda info: Bringing(codec)
        client.syn()
        proxy, _ = listener.accept()
        with proxy:
            rig.until(lambda: client.received)
            client.says(ACK)
            yield rig, client, proxy, opener


def test_codec_that_a_conversation_brings_is_on_the_flow() -> None:
    with swapped(Swapping(-1)) as (rig, client, proxy, _):
        client.send(b"up")
        assert read_exactly(rig, proxy, 3) == b"<UP"
        proxy.sendall(b"down")
        rig.until(lambda: client.stream == b"DOWN")


def test_codecs_first_words_wait_for_the_clients() -> None:
    with swapped(Swapping(60_000_000)) as (rig, client, proxy, _):
        rig.run(0.02)
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.recv(1)
        client.send(b"up")
        rig.run(0.02)
        assert proxy.recv(100) == b"<UP"


def test_codecs_first_words_go_out_alone_where_the_client_says_nothing() -> None:
    with swapped(Swapping(3000)) as (rig, client, proxy, _):
        assert read_exactly(rig, proxy, 1) == b"<"
        client.send(b"up")
        assert read_exactly(rig, proxy, 2) == b"UP"


def test_codecs_first_words_wait_no_longer_than_for_the_clients_end() -> None:
    with swapped(Swapping(60_000_000)) as (rig, client, proxy, _):
        client.says(FIN | ACK)
        assert read_exactly(rig, proxy, 1) == b"<"
        rig.run(0.02)
        assert proxy.recv(1) == b""


@pytest.mark.parametrize("is_told", [False, True])
def test_reset_is_told_only_where_the_codec_knows_more_of_it(is_told: bool) -> None:
    codec = Swapping(-1)
    codec.is_reset_told = is_told
    with swapped(codec) as (rig, client, proxy, opener):
        proxy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        proxy.close()
        rig.until(lambda: client.has_rst)
        assert opener.spoiled == (["proxy: so that is it"] if is_told else [])
