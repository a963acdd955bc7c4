"""A flow begins: its target is dialled, or somebody else opens the way; the client hears how it went."""

import contextlib
import errno
import socket
from collections.abc import Iterator

import dpkt  # type: ignore[import-untyped]
import pytest

from tests.unit.flow.rig import (
    TARGET,
    Client,
    FakeOpener,
    Rig,
    listening,
    pack,
    parse_packet,
    read_exactly,
)
from tunproxy.flow.ports import SocketMaker
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.verdict import OPEN, Verdict
from tunproxy.wire.tcp import ACK, RST, SYN

# somebody else opens the upstream


@contextlib.contextmanager
def asking() -> Iterator[tuple[Rig, Client, FakeOpener]]:
    """Yield a rig whose flows are opened by a fake, and a client whose SYN has arrived."""
    opener = FakeOpener()
    rig = Rig(decider=StaticDecider(Verdict(OPEN, "proxy", opener="how")), opener=opener)
    with contextlib.closing(rig):
        client = Client(rig)
        client.syn()
        yield rig, client, opener


def test_open_is_asked_with_flow_and_verdict_and_syn_waits() -> None:
    with asking() as (rig, client, opener):
        rig.run()
        assert client.received == []
        (asked,) = opener.asked
        assert str(asked.info) == "tcp 10.0.0.2:40000 -> 198.51.100.7:80"
        assert (asked.verdict.upstream, asked.verdict.opener) == ("proxy", "how")


def test_open_syn_again_is_not_asked_again() -> None:
    with asking() as (rig, client, opener):
        client.seq = client.iss
        client.syn()
        assert len(opener.asked) == 1
        assert len(rig.table) == 1


def test_opened_socket_of_any_kind_carries_the_flow() -> None:
    with asking() as (rig, client, opener):
        ours, target = socket.socketpair()
        ours.setblocking(False)
        opener.asked[0].request.opened(ours)
        with target:
            rig.until(lambda: client.received)
            assert client.received[0].names == "SYN ACK"
            client.says(ACK)
            for _ in range(3):
                client.send(b"up")
                assert read_exactly(rig, target, 2) == b"up"
            target.sendall(b"down")
            rig.until(lambda: client.stream == b"down")


def test_opened_socket_with_data_waiting_is_read_at_once() -> None:
    with asking() as (rig, client, opener):
        ours, target = socket.socketpair()
        with target:
            target.sendall(b"greeting")
            target.shutdown(socket.SHUT_WR)
            ours.setblocking(False)
            opener.asked[0].request.opened(ours)
            rig.until(lambda: client.received)
            client.says(ACK)
            rig.until(lambda: client.stream == b"greeting" and client.has_fin)


@pytest.mark.parametrize("error", [errno.ECONNREFUSED, errno.ECONNRESET])
def test_open_refused_client_gets_a_reset(error: int) -> None:
    with asking() as (rig, client, opener):
        opener.asked[0].request.failed(error)
        rig.hand_out()
        (answer,) = client.received
        assert (answer.names, answer.ack) == ("RST ACK", client.iss + 1)
        assert len(rig.table) == 0
        assert rig.counters.flows_refused == 1


@pytest.mark.parametrize(
    ("error", "code"), [(errno.EHOSTUNREACH, 1), (errno.ENETUNREACH, 0), (errno.EPERM, 13)]
)
def test_open_unreachable_client_gets_an_icmp_error(error: int, code: int) -> None:
    with asking() as (rig, client, opener):
        opener.asked[0].request.failed(error)
        rig.hand_out()
        (frame,) = rig.other_frames
        icmp = parse_packet(frame).data
        assert isinstance(icmp, dpkt.icmp.ICMP)
        assert (icmp.type, icmp.code) == (dpkt.icmp.ICMP_UNREACH, code)
        assert client.received == []
        assert len(rig.table) == 0


def test_open_silent_client_hears_nothing_and_may_ask_again() -> None:
    with asking() as (rig, client, opener):
        opener.asked[0].request.failed(errno.ETIMEDOUT)
        rig.hand_out()
        assert (client.received, rig.other_frames, len(rig.table)) == ([], [], 0)
        client.seq = client.iss
        client.syn()
        assert len(opener.asked) == 2


def test_open_client_gives_up_request_is_cancelled() -> None:
    with asking() as (rig, client, opener):
        client.says(RST, ack=0)
        assert opener.cancelled == [opener.asked[0].request]
        assert len(rig.table) == 0


def test_open_table_closes_request_is_cancelled_and_client_reset() -> None:
    with asking() as (rig, client, opener):
        rig.table.close()
        rig.hand_out()
        assert opener.cancelled == [opener.asked[0].request]
        assert client.has_rst
        assert len(rig.table) == 0


# dialling


class Eager(SocketMaker):
    """Its sockets are connected at once, which the kernel does rarely."""

    def tcp(self, family: int) -> socket.socket:
        class EagerSocket(socket.socket):
            def connect_ex(self, address: tuple[str, int]) -> int:  # type: ignore[override]
                self.setblocking(True)
                self.connect(address)
                self.setblocking(False)
                return 0

        return EagerSocket(family, socket.SOCK_STREAM)


def test_dial_connects_at_once_flow_carries_both_directions() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        rig = Rig({(pack(TARGET), 0): listener.getsockname()}, sockets=Eager())
        with contextlib.closing(rig):
            client = Client(rig).connect()
            target, _ = listener.accept()
            with target:
                client.send(b"up")
                assert read_exactly(rig, target, 2) == b"up"
                target.sendall(b"down")
                rig.until(lambda: client.stream == b"down")


def test_dial_client_resets_before_the_target_answers_socket_is_closed() -> None:
    with listening() as (rig, _):
        client = Client(rig)
        rig.give(client.frame(SYN, ack=0))
        client.seq += 1
        client.says(RST)
        rig.run()
        assert client.received == []
        assert (len(rig.table), rig.poller.watched) == (0, 0)


def test_dial_target_is_busy_syn_is_answered_when_it_accepts() -> None:
    with listening(backlog=0) as (rig, listener), socket.create_connection(listener.getsockname()):
        waiting = socket.socket()
        waiting.setblocking(False)
        waiting.connect_ex(listener.getsockname())  # backlog 0 is a queue of one: now it is full
        client = Client(rig)
        client.syn()
        rig.run(0.2)
        assert client.received == []
        listener.accept()[0].close()
        waiting.close()
        rig.until(lambda: client.received)  # the kernel asks again after a second
        assert client.received[0].names == "SYN ACK"


def test_dial_unroutable_client_gets_an_icmp_error() -> None:
    rig = Rig({(pack(TARGET), 0): ("255.255.255.255", 80)})
    with contextlib.closing(rig):
        Client(rig).syn()
        rig.until(lambda: rig.other_frames)
        icmp = parse_packet(rig.other_frames[0]).data
        assert (icmp.type, icmp.code in (0, 13)) == (dpkt.icmp.ICMP_UNREACH, True)
        assert len(rig.table) == 0
