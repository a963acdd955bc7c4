"""One TCP flow between a client in frames and a target on the kernel's loopback."""

import contextlib
import errno
import hashlib
import random
import socket
from collections.abc import Iterator

import dpkt  # type: ignore[import-untyped]
import pytest

from tests.unit.flow.rig import (
    TARGET,
    Client,
    FakeOpener,
    Rig,
    connected,
    how_it_ended,
    listening,
    pack,
    parse_packet,
    read_exactly,
    reset,
)
from tunproxy.flow.ports import SocketMaker
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.tcp_flow import TcpFlow
from tunproxy.flow.verdict import OPEN, Verdict
from tunproxy.tcp.connection import RCV_BUF
from tunproxy.wire.tcp import ACK, FIN, RST, SYN

MEGABYTE = 1 << 20


def noise(size: int) -> bytes:
    return random.Random(7).randbytes(size)


def only_flow(rig: Rig) -> TcpFlow:
    """Return the one flow in the table (compiled or not, contexts are the flow package's own affair)."""
    (flow,) = rig.table._context.flows.values()
    return flow


# moving bytes


def test_data_up_arrives_at_the_target() -> None:
    with connected() as (rig, client, target):
        client.send(b"hello")
        assert read_exactly(rig, target, 5) == b"hello"


def test_data_down_arrives_at_the_client() -> None:
    with connected() as (rig, client, target):
        target.sendall(b"hello")
        rig.until(lambda: client.stream == b"hello")


def test_data_with_the_last_ack_of_the_handshake_arrives() -> None:
    with listening() as (rig, listener):
        client = Client(rig)
        client.syn()
        rig.until(lambda: client.received)
        client.send(b"at once")
        with listener.accept()[0] as target:
            assert read_exactly(rig, target, 7) == b"at once"


def test_target_that_speaks_first_is_heard() -> None:
    with listening() as (rig, listener):
        client = Client(rig).connect()
        with listener.accept()[0] as target:
            target.sendall(b"220 ready")
            rig.until(lambda: client.stream == b"220 ready")


@pytest.mark.parametrize("size", [1, 536, 1460])
def test_data_up_in_segments_of_any_size_arrives_unaltered(size: int) -> None:
    data = noise(min(size * 3000, 2 * MEGABYTE))
    with connected() as (rig, client, target):
        arrived = bytearray()
        target.setblocking(False)

        def drain() -> None:
            with contextlib.suppress(BlockingIOError):
                arrived.extend(target.recv(1 << 20))

        client.send_all(data, size, drain=drain)
        arrived += read_exactly(rig, target, len(data) - len(arrived))
        assert hashlib.sha256(arrived).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("has_tso", [True, False])
def test_data_down_arrives_unaltered(has_tso: bool) -> None:
    data = noise(2 * MEGABYTE)
    with connected() as (rig, client, target):
        if not has_tso:
            client.mss = 536
        target.setblocking(False)
        sent = 0
        while len(client.stream) < len(data):
            with contextlib.suppress(BlockingIOError):
                sent += target.send(data[sent : sent + MEGABYTE])
            rig.turn(0.001)
        assert client.stream == data


# ends


def test_client_closes_first_target_may_still_send() -> None:
    with connected() as (rig, client, target):
        client.send(b"request")
        client.close()
        assert how_it_ended(rig, target) == b"request"
        target.sendall(b"answer")
        rig.until(lambda: client.stream == b"answer")
        assert not client.has_fin
        target.close()
        rig.until(lambda: client.has_fin)
        rig.until(lambda: len(rig.table) == 0)
        assert not client.has_rst


def test_target_closes_first_client_may_still_send() -> None:
    with connected() as (rig, client, target):
        target.sendall(b"greeting")
        target.shutdown(socket.SHUT_WR)
        rig.until(lambda: client.has_fin)
        assert client.stream == b"greeting"
        client.send(b"more")
        client.close()
        assert how_it_ended(rig, target) == b"more"
        assert not client.has_rst
        assert rig.poller.watched == 0, "the socket is closed, the flow is in TIME-WAIT"
        rig.pass_time(3)
        assert len(rig.table) == 0


def test_both_close_at_once_flow_ends() -> None:
    with connected() as (rig, client, target):
        target.shutdown(socket.SHUT_WR)
        fin = client.frame(ACK | FIN)
        rig.until(lambda: client.has_fin)
        client.seq += 1
        rig.give(fin, client.frame(ACK))
        assert how_it_ended(rig, target) == b""
        rig.pass_time(3)
        assert len(rig.table) == 0
        assert not client.has_rst


def test_client_resets_target_sees_a_reset() -> None:
    with connected() as (rig, client, target):
        client.send(b"x")
        read_exactly(rig, target, 1)
        client.reset()
        assert how_it_ended(rig, target) == "reset"
        assert len(rig.table) == 0


def test_client_resets_with_unsent_data_target_sees_a_reset() -> None:
    with connected() as (rig, client, target):
        client.send_all(noise(MEGABYTE // 2))
        client.reset()
        assert how_it_ended(rig, target) == "reset"
        assert (len(rig.table), rig.poller.watched) == (0, 0)


def test_target_resets_client_sees_a_reset() -> None:
    with connected() as (rig, client, target):
        reset(target)
        rig.until(lambda: client.has_rst)
        assert (len(rig.table), rig.poller.watched) == (0, 0)


def test_target_resets_after_data_client_gets_the_reset_at_the_right_place() -> None:
    with connected() as (rig, client, target):
        target.sendall(b"last words")
        rig.until(lambda: client.stream == b"last words")
        reset(target)
        rig.until(lambda: client.has_rst)
        assert client.received[-1].seq == client.ack


def test_target_resets_after_its_fin_client_that_sends_sees_a_reset() -> None:
    with connected() as (rig, client, target):
        target.sendall(b"413")
        target.shutdown(socket.SHUT_WR)
        rig.until(lambda: client.has_fin)
        reset(target)
        rig.run()
        client.send(b"upload goes on")
        rig.run()
        client.send(b"and on")
        rig.until(lambda: client.has_rst)
        assert len(rig.table) == 0


def test_target_resets_after_its_fin_idle_client_sees_a_reset() -> None:
    with connected() as (rig, client, target):
        target.shutdown(socket.SHUT_WR)
        rig.until(lambda: client.has_fin)
        reset(target)
        rig.until(lambda: client.has_rst)
        assert len(rig.table) == 0


def test_target_closes_with_unread_data_client_gets_the_answer_then_a_reset() -> None:
    with connected() as (rig, client, target):
        client.send(b"never read")
        rig.run()
        target.sendall(b"answer")
        target.close()  # the kernel sends a reset, as there is unread data
        rig.until(lambda: client.has_rst or client.has_fin)
        assert client.has_rst
        assert len(rig.table) == 0


def test_client_vanishes_target_sees_a_reset_in_the_end() -> None:
    with connected() as (rig, client, target):
        client.is_acking = False
        target.sendall(b"are you there?")
        rig.until(lambda: any(segment.data for segment in client.received))
        rig.pass_time(400)
        assert how_it_ended(rig, target) == "reset"
        assert len(rig.table) == 0


# backpressure


def fill(rig: Rig, client: Client, most: int = 16 * MEGABYTE) -> int:
    """Send as a client until the window is closed; return how much was taken."""
    taken = 0
    piece = noise(1400)
    idle = 0
    while idle < 20:
        assert taken < most, "no end of what is taken"
        room = (client.peer_ack + client.peer_wnd - client.seq) & 0xFFFF_FFFF
        if len(piece) <= room < 1 << 31:
            client.says(ACK, piece)
            taken += len(piece)
            idle = 0
        else:
            rig.turn(0.002)
            idle += 1
    return taken


def test_target_does_not_read_window_closes_and_memory_is_bounded() -> None:
    with connected() as (rig, client, target):
        taken = fill(rig, client)
        conn = only_flow(rig).conn
        assert conn.rcv_queued <= RCV_BUF + RCV_BUF // 8
        assert client.peer_wnd < 1460
        data = read_exactly(rig, target, taken)
        assert hashlib.sha256(data).digest() == hashlib.sha256(noise(1400) * (taken // 1400)).digest()
        rig.until(lambda: client.peer_wnd > RCV_BUF // 2)


def test_client_closes_while_target_does_not_read_everything_arrives_and_then_the_end() -> None:
    """More pieces are waiting than one writev takes, and nothing else happens that would push the rest."""
    with connected() as (rig, client, target):
        taken = fill(rig, client)
        client.close()
        assert only_flow(rig).conn.rcv_queued > 0
        assert len(how_it_ended(rig, target)) == taken


def test_client_with_closed_window_target_is_not_read() -> None:
    with connected() as (rig, client, target):
        client.wnd = 0
        client.says(ACK)
        target.setblocking(False)
        sent = 0
        idle = 0
        while idle < 20:
            try:
                sent += target.send(noise(65536))
                idle = 0
            except BlockingIOError:
                rig.turn(0.002)
                idle += 1
        assert only_flow(rig).conn.buffer.length <= 1460, "what lies in our memory is one probe's worth"
        client.wnd = 0xFFFF
        client.says(ACK)
        rig.until(lambda: len(client.stream) == sent)


def test_client_with_small_window_never_holds_more_than_it_allows() -> None:
    with connected(wnd_shift=0) as (rig, client, target):
        client.wnd = 5000
        client.is_acking = False
        client.says(ACK)
        window_begins = client.ack
        target.sendall(noise(50_000))
        rig.run()
        ends = [segment.seq + len(segment.data) for segment in client.received if segment.data]
        assert ends, "it sends what the window allows, and may repeat the last of it as a probe"
        assert 0 < max(ends) - window_begins <= 5000


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


# a client that has vanished without a word


@pytest.mark.parametrize("is_half_closed", [False, True])
def test_vanished_client_is_found_out_and_the_target_told(is_half_closed: bool) -> None:
    with connected() as (rig, client, target):
        client.is_acking = False
        if is_half_closed:
            target.shutdown(socket.SHUT_WR)
            rig.until(lambda: client.has_fin)
            client.says(ACK, ack=client.ack + 1)
        rig.pass_time(400)
        assert how_it_ended(rig, target) == "reset"
        assert len(rig.table) == 0
