"""How a flow ends: each side sees what the other did, a FIN, a reset, or silence."""

import random
import socket

import pytest

from tests.unit.flow.rig import (
    connected,
    how_it_ended,
    read_exactly,
    reset,
)
from tunproxy.wire.tcp import ACK, FIN

MEGABYTE = 1 << 20


def noise(size: int) -> bytes:
    return random.Random(7).randbytes(size)


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


def test_simultaneous_close_target_hears_of_the_clients_end_before_ours_is_acknowledged() -> None:
    with connected() as (rig, client, target):
        client.is_acking = False
        target.shutdown(socket.SHUT_WR)
        rig.until(lambda: client.has_fin)
        client.says(FIN | ACK, ack=client.received[-1].seq)  # sent before our FIN came
        target.settimeout(0)
        rig.until(lambda: is_at_end(target))


def is_at_end(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
