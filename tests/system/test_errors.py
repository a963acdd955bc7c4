"""What goes wrong on one side is told to the other as what it was: refused, unreachable, silent, reset."""

import contextlib
import errno
import socket

import pytest

from tests.system.hostlab import eventually
from tests.system.lab import DOWNLINK, IPV4, Family, Lab
from tests.system.peers import (
    MEGABYTE,
    Task,
    accept,
    pair,
    receive_digest,
    receive_exactly,
    reset,
    send_stream,
)
from tests.system.stopwatch import Stopwatch

pytestmark = pytest.mark.timeout(60)

CLOSED_PORT = 9
UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH)


def test_closed_port_is_refused_at_once(lab: Lab, family: Family) -> None:
    for _ in range(20):
        with Stopwatch() as watch, pytest.raises(ConnectionRefusedError):
            lab.client.connect(family.host, CLOSED_PORT)
        assert watch.seconds() < 0.5


def test_closed_port_that_opens_later_is_reached(lab: Lab, family: Family) -> None:
    with pytest.raises(ConnectionRefusedError):
        lab.client.connect(family.host, 7777)
    with lab.server.listen(family.host, 7777), lab.client.connect(family.host, 7777):
        pass
    with pytest.raises(ConnectionRefusedError):
        lab.client.connect(family.host, 7777)


def test_unreachable_host_is_reported_at_once(lab: Lab, family: Family) -> None:
    """The server, as a router, says host unreachable; tunproxy passes that on."""
    with Stopwatch() as watch, pytest.raises(OSError, match=r"unreachable|No route") as caught:
        lab.client.connect(family.no_host, 80)
    assert caught.value.errno in UNREACHABLE
    assert watch.seconds() < 2


def test_network_without_a_route_is_reported_at_once(lab: Lab, family: Family) -> None:
    """tunproxy's own host has no route; connect() fails before a packet leaves."""
    with Stopwatch() as watch, pytest.raises(OSError, match=r"unreachable|No route") as caught:
        lab.client.connect(family.no_net, 80)
    assert caught.value.errno in UNREACHABLE
    assert watch.seconds() < 2


def test_neighbour_that_does_not_exist_is_reported(lab: Lab, family: Family) -> None:
    """Nobody answers ARP or neighbour discovery; the kernel knows after three seconds."""
    patient = lab.host.changed("net/ipv4/tcp_syn_retries", "3")
    with patient, pytest.raises(OSError, match=r"unreachable|No route") as caught:
        lab.client.connect(family.absent, 80, timeout=30)
    assert caught.value.errno in UNREACHABLE


def test_silent_host_stays_silent(lab: Lab, family: Family) -> None:
    """No answer must be made up while there is none."""
    with pytest.raises(TimeoutError):
        lab.client.connect(family.silent, 80, timeout=2.5)


def test_silent_host_that_wakes_up_is_connected(lab: Lab) -> None:
    with lab.server.listen(IPV4.host) as listener:
        syns = f"ip daddr {IPV4.host} tcp dport {listener.getsockname()[1]} drop"
        with lab.filtering(lab.server, DOWNLINK, syns) as lost:
            connecting = Task(lab.client.connect_to, listener)
            assert eventually(lambda: lost() > 0)  # the first SYN; the second comes after a second
            assert connecting.is_running()
        with connecting.result() as client, accept(listener) as server:
            client.sendall(b"good morning")
            assert receive_exactly(server, 12) == b"good morning"


def test_client_that_gave_up_before_the_answer_leaves_no_connection(lab: Lab) -> None:
    """The server answers after the client closed; what it accepts must come to an end."""
    with lab.server.listen(IPV4.host) as listener:
        with lab.filtering(lab.server, DOWNLINK, f"ip daddr {IPV4.host} drop"), pytest.raises(TimeoutError):
            lab.client.connect_to(listener, 0.7)
        listener.settimeout(4)
        try:
            server = accept(listener)
        except TimeoutError:
            return  # the attempt was given up together with the client
        with server:
            assert_ends(server)


@pytest.mark.parametrize("after_data", [False, True], ids=["idle", "with data under way"])
def test_server_reset_is_a_reset_at_the_client(lab: Lab, family: Family, after_data: bool) -> None:
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with client:
            if after_data:
                client.sendall(b"never read")
                await_data(server)
                server.close()  # with unread data: the kernel resets by itself
            else:
                reset(server)
            with pytest.raises(ConnectionResetError):
                client.recv(1)


@pytest.mark.parametrize("after_data", [False, True], ids=["idle", "with data under way"])
def test_client_reset_is_a_reset_at_the_server(lab: Lab, family: Family, after_data: bool) -> None:
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with server:
            if after_data:
                server.sendall(b"never read")
                await_data(client)
                client.close()
            else:
                reset(client)
            with pytest.raises(ConnectionResetError):
                server.recv(1)


@pytest.mark.parametrize("resetter", ["client", "server"])
def test_reset_during_a_bulk_transfer_ends_the_sender(lab: Lab, family: Family, resetter: str) -> None:
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        source, sink = (server, client) if resetter == "client" else (client, server)
        with source:
            sender = Task(send_stream, source, 2000 * MEGABYTE)
            receive_digest(sink, limit=20 * MEGABYTE)
            reset(sink)
            with pytest.raises(ConnectionError):
                sender.result()


@pytest.mark.parametrize("resetter", ["client", "server"])
def test_reset_after_half_close_is_a_reset(lab: Lab, resetter: str) -> None:
    with lab.server.listen(IPV4.host) as listener:
        client, server = pair(lab.client, listener)
        first, second = (server, client) if resetter == "client" else (client, server)
        with first:
            first.shutdown(socket.SHUT_WR)
            assert second.recv(1) == b""
            reset(second)
            with pytest.raises(ConnectionResetError):
                first.recv(1)


def test_many_failures_of_all_kinds_leave_working_flows_alone(lab: Lab, family: Family) -> None:
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            for number in range(100):
                with pytest.raises(OSError, match=r"refused|unreachable"):
                    lab.client.connect((family.host, family.no_net)[number % 2], CLOSED_PORT)
                token = number.to_bytes(2, "big")
                client.sendall(token)
                assert receive_exactly(server, 2) == token


def await_data(sock: socket.socket) -> None:
    """Return once something has arrived, which is left there."""
    assert sock.recv(1, socket.MSG_PEEK)


def assert_ends(sock: socket.socket) -> None:
    """The connection ends, in order or by a reset."""
    with contextlib.suppress(ConnectionResetError):
        assert sock.recv(1) == b""
