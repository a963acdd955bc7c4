"""TCP through the whole machine: bulk, half-closed connections, many connections, unusual options.

The kernel is the oracle on both sides; the picture of the namespaces is in ``lab.py``.
"""

import contextlib
import errno
import socket
import statistics
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.system.lab import IPV4, Family, Lab
from tests.system.peers import (
    GIGABYTE,
    MEGABYTE,
    Task,
    accept,
    digest_of,
    pair,
    receive_digest,
    receive_exactly,
    reset,
    send_and_end,
    send_stream,
)

pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_bulk_gigabyte_arrives_unaltered(lab: Lab, family: Family, direction: str) -> None:
    digest_of(GIGABYTE)  # beforehand, not in competition with the transfer
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            source, sink = (client, server) if direction == "up" else (server, client)
            received = Task(receive_digest, sink)
            send_stream(source, GIGABYTE)
            source.shutdown(socket.SHUT_WR)
            assert received.result(60) == (GIGABYTE, digest_of(GIGABYTE))


def test_bulk_both_directions_at_once_arrive_unaltered(lab: Lab, family: Family) -> None:
    size = 100 * MEGABYTE
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            received = [Task(receive_digest, end) for end in (client, server)]
            sent = [Task(send_and_end, end, size) for end in (client, server)]
            for task in sent:
                task.result()
            assert [task.result() for task in received] == [(size, digest_of(size))] * 2


@pytest.mark.parametrize("first", ["client", "server"])
def test_half_close_other_direction_carries_on(lab: Lab, family: Family, first: str) -> None:
    size = 10 * MEGABYTE
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            closer, other = (client, server) if first == "client" else (server, client)
            closer.sendall(b"request")
            closer.shutdown(socket.SHUT_WR)
            assert receive_digest(other)[0] == len(b"request")
            received = Task(receive_digest, closer)
            time.sleep(0.3)  # the half-closed state lasts
            send_and_end(other, size)
            assert received.result() == (size, digest_of(size))


def test_close_with_unread_data_under_way_is_all_delivered(lab: Lab, family: Family) -> None:
    """A client that writes and closes at once has still sent everything (like `nc -N`)."""
    size = 5 * MEGABYTE
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with server:
            received = Task(receive_digest, server)
            with client:
                send_stream(client, size)
            assert received.result() == (size, digest_of(size))


def test_server_speaks_first_and_closes_client_gets_everything(lab: Lab, family: Family) -> None:
    with lab.server.listen(family.host) as listener:
        greeter = Task(greet_and_close, listener, 50)
        for _ in range(50):
            with lab.client.connect_to(listener) as client:
                assert receive_exactly(client, 100) == b"220 ready\r\n"
        greeter.result()


def test_ping_pong_single_octets_has_low_latency(lab: Lab, family: Family) -> None:
    """2,000 round trips; a delayed ACK or Nagle's algorithm in the way would cost 40 ms each.

    A machine that stands still now and then holds up some of them.
    """
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            echo = Task(echo_octets, server, 2000)
            trips = []
            for number in range(2000):
                octet = bytes([number & 0xFF])
                started = time.perf_counter()
                client.sendall(octet)
                assert client.recv(1) == octet
                trips.append(time.perf_counter() - started)
            echo.result()
    assert statistics.median(trips) < 0.01
    assert sum(trip > 0.03 for trip in trips) < 100


def test_write_write_read_is_not_delayed(lab: Lab) -> None:
    """A request in two writes meets Nagle and the delayed ACK only where somebody withholds the ACK.

    That would be 40 ms or more for each.
    """
    took = []
    with lab.server.listen(IPV4.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            echo = Task(echo_blocks, server, 100, 2)
            for _ in range(100):
                started = time.perf_counter()
                client.sendall(b"a")
                client.sendall(b"b")
                assert receive_exactly(client, 2) == b"ab"
                took.append(time.perf_counter() - started)
            echo.result()
    assert statistics.median(took) < 0.02


def test_connect_and_close_five_thousand_times_leaks_nothing(lab: Lab) -> None:
    with lab.server.listen(IPV4.host) as listener:
        server = Task(accept_and_close, listener, 5000)

        def connect_and_close(_: int) -> bytes:
            with lab.client.connect_to(listener) as client:
                return client.recv(1)

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(connect_and_close, range(5000))) == {b""}
        server.result()


def test_idle_two_thousand_connections_all_answer_afterwards(lab: Lab) -> None:
    with contextlib.ExitStack() as stack, lab.server.listen(IPV4.host) as listener:
        ends = []
        for _ in range(2000):
            client, server = pair(lab.client, listener)
            stack.enter_context(client)
            stack.enter_context(server)
            ends.append((client, server))
        time.sleep(3)
        for number, (client, server) in enumerate(ends):
            token = number.to_bytes(4, "big")
            client.sendall(token)
            assert receive_exactly(server, 4) == token
            server.sendall(token)
            assert receive_exactly(client, 4) == token


def test_parallel_two_hundred_streams_both_directions_arrive_unaltered(lab: Lab, family: Family) -> None:
    size = 500_000
    with contextlib.ExitStack() as stack, lab.server.listen(family.host) as listener:
        tasks = []
        for _ in range(200):
            for end in pair(lab.client, listener):
                stack.enter_context(end)
                tasks.append(Task(receive_digest, end))
                Task(send_and_end, end, size)
        assert {task.result(60) for task in tasks} == {(size, digest_of(size))}


def test_local_port_after_server_closed_first_is_reusable_at_once(lab: Lab, family: Family) -> None:
    """The stack's TIME-WAIT must take a new SYN for the same pair of ports (RFC 9293 §3.6.1)."""
    with lab.server.listen(family.host) as listener:
        local = 0
        for _ in range(4):
            with connect_from(lab, family, local, listener) as client:
                local = client.getsockname()[1]
                with accept(listener) as server:
                    server.sendall(b"once")
                assert receive_exactly(client, 5) == b"once"


def test_local_port_after_reset_is_reusable_at_once(lab: Lab, family: Family) -> None:
    with lab.server.listen(family.host) as listener:
        local = 0
        for _ in range(4):
            client = lab.client.make_socket(family.af)
            client.bind((family.any, local))
            client.connect(listener.getsockname()[:2])
            local = client.getsockname()[1]
            with accept(listener) as server:
                server.sendall(b"once")
                assert receive_exactly(client, 4) == b"once"
                reset(client)
                with pytest.raises(ConnectionResetError):
                    server.recv(1)


@pytest.mark.parametrize("sender", ["client", "server"])
def test_urgent_data_stays_in_the_stream(lab: Lab, sender: str) -> None:
    """Where urgent data is kept out of the stream (RFC 6093 §6), an octet would be missing."""
    with lab.server.listen(IPV4.host) as listener:
        for _ in range(20):
            client, server = pair(lab.client, listener)
            with client, server:
                source, sink = (client, server) if sender == "client" else (server, client)
                sink.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
                for _ in range(10):
                    source.sendall(b"before")
                    source.send(b"!", socket.MSG_OOB)
                    source.sendall(b"after")
                source.shutdown(socket.SHUT_WR)
                assert receive_exactly(sink, 1000) == b"before!after" * 10


def test_keepalive_probes_are_answered(lab: Lab) -> None:
    with lab.server.listen(IPV4.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
                client.setsockopt(socket.IPPROTO_TCP, option, 1)
            began, answered, last = time.monotonic(), 0, 0.0
            while answered < 3:
                assert time.monotonic() - began < 20
                time.sleep(0.1)
                before, last = last, seconds_since_ack(client)
                answered += last < before
            client.sendall(b"alive")
            assert receive_exactly(server, 5) == b"alive"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tcp_timestamps", "0"),
        ("tcp_sack", "0"),
        ("tcp_window_scaling", "0"),
        ("tcp_ecn", "1"),
        ("tcp_mtu_probing", "2"),
        ("tcp_adv_win_scale", "-2"),
    ],
)
def test_client_with_unusual_options_transfers_unaltered(lab: Lab, key: str, value: str) -> None:
    size = 20 * MEGABYTE
    with lab.client.changed(f"net/ipv4/{key}", value), lab.server.listen(IPV4.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            received = [Task(receive_digest, end) for end in (client, server)]
            for end in (client, server):
                Task(send_and_end, end, size)
            assert [task.result() for task in received] == [(size, digest_of(size))] * 2


def test_data_in_the_syn_is_not_lost(lab: Lab, family: Family) -> None:
    """TCP Fast Open without a cookie (RFC 7413); who does not take the data leaves it to be sent again."""
    early = lab.client.changed("net/ipv4/tcp_fastopen", "5")
    with early, lab.server.listen(family.host) as listener, lab.client.make_socket(family.af) as client:
        client.sendto(b"early", socket.MSG_FASTOPEN, listener.getsockname()[:2])
        with accept(listener) as server:
            assert receive_exactly(server, 5) == b"early"
            server.sendall(b"late")
            assert receive_exactly(client, 4) == b"late"


@pytest.mark.parametrize("mss", [88, 536])
def test_client_with_small_segments_transfers_unaltered(lab: Lab, family: Family, mss: int) -> None:
    size = 2 * MEGABYTE
    with lab.server.listen(family.host) as listener, lab.client.make_socket(family.af) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss)
        client.connect(listener.getsockname()[:2])
        with accept(listener) as server:
            received = [Task(receive_digest, end) for end in (client, server)]
            for end in (client, server):
                Task(send_and_end, end, size)
            assert [task.result() for task in received] == [(size, digest_of(size))] * 2


def seconds_since_ack(sock: socket.socket) -> float:
    """Return how long ago the other end has acknowledged anything (tcpi_last_ack_recv, linux/tcp.h)."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 60)
    return float(struct.unpack_from("=I", info, 56)[0]) / 1000


def connect_from(lab: Lab, family: Family, local: int, listener: socket.socket) -> socket.socket:
    """Connect from a local port, as soon as the kernel has seen its FIN of the last time acknowledged."""
    until = time.monotonic() + 20
    while True:
        client = lab.client.make_socket(family.af)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((family.any, local))
        try:
            client.connect(listener.getsockname()[:2])
            return client
        except OSError as error:
            client.close()
            if error.errno != errno.EADDRNOTAVAIL or time.monotonic() > until:
                raise
            time.sleep(0.001)


def greet_and_close(listener: socket.socket, count: int) -> None:
    for _ in range(count):
        with accept(listener) as server:
            server.sendall(b"220 ready\r\n")


def accept_and_close(listener: socket.socket, count: int) -> None:
    for _ in range(count):
        accept(listener).close()


def echo_octets(sock: socket.socket, count: int) -> None:
    for _ in range(count):
        sock.sendall(sock.recv(1))


def echo_blocks(sock: socket.socket, count: int, size: int) -> None:
    for _ in range(count):
        sock.sendall(receive_exactly(sock, size))
