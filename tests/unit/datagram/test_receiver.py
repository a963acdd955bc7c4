"""Many datagrams with one call."""

import socket
from collections.abc import Iterator

import pytest

from tests.unit.datagram.world import UDP_GRO, needs_ipv6
from tunproxy.datagram.receiver import SLOTS, Receiver
from tunproxy.datagram.sockaddr import name_of, pack

UDP_SEGMENT = 103


def pair(host: str) -> tuple[socket.socket, socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    ours, theirs = (socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(2))
    for sock in (ours, theirs):
        sock.bind((host, 0))
    ours.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    theirs.connect(ours.getsockname())
    return ours, theirs


@pytest.fixture(params=["127.0.0.1", pytest.param("::1", marks=needs_ipv6)], ids=["ipv4", "ipv6"])
def sockets(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = pair(request.param)
    with ours, theirs:
        yield ours, theirs


def name(sock: socket.socket) -> bytes:
    host, port = sock.getsockname()[:2]
    return name_of(pack(host), port)


def test_receive_returns_datagrams_in_order(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets
    receiver = Receiver()
    sent = [b"", b"x", bytes(range(256)) * 5, b"last"]
    for payload in sent:
        theirs.send(payload)
    assert receiver.receive(ours.fileno(), SLOTS) == 4
    found = [bytes(receiver.payload(index, 0, receiver.length(index))) for index in range(4)]
    assert found == sent
    assert [receiver.segment(index) for index in range(4)] == [0] * 4
    assert {receiver.name(index) for index in range(4)} == {name(theirs)}
    assert receiver.receive(ours.fileno(), SLOTS) == -1


def test_receive_takes_no_more_than_the_limit(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets
    receiver = Receiver()
    for number in range(5):
        theirs.send(bytes([number]))
    assert receiver.receive(ours.fileno(), 3) == 3
    assert receiver.receive(ours.fileno(), 3) == 2
    assert bytes(receiver.payload(1, 0, 1)) == b"\4"


def test_joined_datagrams_tell_their_size(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets
    theirs.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 700)
    receiver = Receiver()
    theirs.send(bytes(3000))
    theirs.send(bytes(700))
    assert receiver.receive(ours.fileno(), SLOTS) == 2
    assert (receiver.length(0), receiver.segment(0)) == (3000, 700)
    assert receiver.length(1) == 700
    assert receiver.segment(1) in (0, 700)


def test_senders_are_told_apart(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, first = sockets
    receiver = Receiver()
    with socket.socket(ours.family, socket.SOCK_DGRAM) as second:
        second.bind((ours.getsockname()[0], 0))
        for sock in (first, second, first):
            sock.sendto(b"x", ours.getsockname())
        assert receiver.receive(ours.fileno(), SLOTS) == 3
        assert receiver.name(1) == name(second)
        assert receiver.is_from_same(0, 2)
        assert not receiver.is_from_same(0, 1)


def test_largest_datagram_fits() -> None:
    ours, theirs = pair("127.0.0.1")
    with ours, theirs:
        receiver = Receiver()
        payload = bytes(range(251)) * 261
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.send(payload[:65507])
        assert receiver.receive(ours.fileno(), SLOTS) == 1
        assert bytes(receiver.payload(0, 0, receiver.length(0))) == payload[:65507]


def test_pending_error_is_no_datagram() -> None:
    ours, theirs = pair("127.0.0.1")
    with ours:
        with theirs:
            ours.connect(theirs.getsockname())
        ours.send(b"x")  # to a port that is closed
        receiver = Receiver()
        assert receiver.receive(ours.fileno(), SLOTS) == -1
