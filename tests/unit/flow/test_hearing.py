"""A client is heard out before it is decided where its flow goes."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.unit.flow.rig import Client, Rig, read_exactly
from tunproxy.flow.hearing import HEARING, MOST_HEARD
from tunproxy.flow.ports import Decider
from tunproxy.flow.verdict import DIAL, DROP, REJECT, SNIFF, FlowInfo, Verdict
from tunproxy.wire.tcp import ACK, FIN, RST


class Listening(Decider):
    """Wants a whole line; "no" is rejected, silence goes the default way, as every other word does."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.way = Verdict(DIAL, "direct", *address)
        self.heard: list[bytes] = []

    def decide(self, info: FlowInfo) -> Verdict:
        return Verdict(SNIFF, "undecided")

    def decide_sniffed(self, info: FlowInfo, data: bytes) -> Verdict | None:
        self.heard.append(data)
        if data.startswith(b"no\n"):
            return Verdict(REJECT, "reject")
        if data.startswith(b"drop\n"):
            return Verdict(DROP, "drop")
        return self.way if b"\n" in data or not data else None


@contextlib.contextmanager
def hearing() -> Iterator[tuple[Rig, Client, socket.socket, Listening]]:
    """Yield a rig, a client that is connected before anything is decided, the target, and the decider."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        decider = Listening(listener.getsockname())
        rig = Rig(decider=decider)
        with contextlib.closing(rig):
            client = Client(rig)
            client.syn()
            assert client.received[0].names == "SYN ACK"
            client.says(ACK)
            yield rig, client, listener, decider


def test_first_words_decide_and_reach_the_target() -> None:
    with hearing() as (rig, client, listener, decider):
        client.send(b"hel")
        rig.turn()
        client.send(b"lo\nmore")
        target, _ = listener.accept()
        with target:
            assert read_exactly(rig, target, 10) == b"hello\nmore"
            assert decider.heard == [b"hel", b"hello\nmore"]
            target.sendall(b"answer")
            rig.until(lambda: client.stream == b"answer")
        assert rig.counters.flows_opened == 1


def test_client_that_says_nothing_is_waited_for_no_longer_than_that() -> None:
    with hearing() as (rig, client, listener, decider):
        rig.until(lambda: decider.heard)
        assert decider.heard == [b""]
        target, _ = listener.accept()
        with target:
            target.sendall(b"220 hello")
            rig.until(lambda: client.stream == b"220 hello")


def test_client_that_never_finishes_its_words_is_waited_for_no_longer_than_that() -> None:
    with hearing() as (rig, client, listener, decider):
        client.send(b"hel")
        rig.ahead += HEARING
        rig.until(lambda: b"" in decider.heard)
        target, _ = listener.accept()
        with target:
            assert read_exactly(rig, target, 3) == b"hel"


def test_client_that_says_too_much_without_a_point_is_sent_off() -> None:
    with hearing() as (rig, client, listener, decider):
        for _ in range(MOST_HEARD // 1024 + 1):
            client.send(b"x" * 1024)
        rig.until(lambda: b"" in decider.heard)
        listener.accept()[0].close()


def test_client_that_ends_is_sent_off_with_what_it_said() -> None:
    with hearing() as (rig, client, listener, decider):
        client.says(ACK | FIN, b"hel")
        target, _ = listener.accept()
        with target:
            assert read_exactly(rig, target, 3) == b"hel"
            rig.run(0.02)
            assert target.recv(1) == b""
        assert decider.heard == [b"hel", b""]


@pytest.mark.parametrize("word", [b"no\n", b"drop\n"])
def test_rejected_client_gets_a_reset_as_it_has_been_answered(word: bytes) -> None:
    with hearing() as (rig, client, _, _):
        client.send(word)
        rig.until(lambda: client.has_rst)
        assert (len(rig.table), rig.poller.watched) == (0, 0)
        assert rig.drops() == {"rejected": 1}


def test_target_that_refuses_is_a_reset() -> None:
    with hearing() as (rig, client, listener, _):
        listener.close()
        client.send(b"hello\n")
        rig.until(lambda: client.has_rst)
        assert len(rig.table) == 0


def test_client_that_resets_before_it_is_decided_leaves_nothing() -> None:
    with hearing() as (rig, client, _, decider):
        client.says(RST)
        rig.run(0.05)
        assert (len(rig.table), decider.heard) == (0, [])


def test_client_that_never_finishes_the_handshake_is_forgotten() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        rig = Rig(decider=Listening(listener.getsockname()))
        with contextlib.closing(rig):
            client = Client(rig)
            client.syn()
            rig.pass_time(250)
            assert len(rig.table) == 0
