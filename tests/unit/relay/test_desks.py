"""Sockets for datagrams that outlive their workers, and the way from one worker to another."""

import contextlib
import os
import socket
import stat
from collections.abc import Callable

import pytest

from tests.unit.relay.test_shadowsocks_server import KEY
from tests.unit.relay.world import config_of
from tunproxy.errors import SystemChangeError
from tunproxy.relay.addresses import Listen
from tunproxy.relay.desks import Desk, Desks, desks_of, parse_handed

TEXT = f'[shadowsocks]\nlisten = []\nmethod = "2022-blake3-aes-128-gcm"\npassword = "{KEY}"\n'


def free() -> Listen:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return Listen("127.0.0.1", sock.getsockname()[1])


def heard(desk: Desk) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(desk.socks[0].recv(100))
        except BlockingIOError:
            return found


def heard_by(desks: Desks, number: int) -> int:
    """Be a worker; return how much has come for it, 98 where it still has what is another one's."""
    desk = desks.take(number)
    other = 1 - number
    if desks._socks[other][0].fileno() >= 0 or desks._inboxes[other][0].fileno() >= 0:
        return 98
    return len(heard(desk))


def in_a_child(call: Callable[[], int]) -> int:
    """Return what call returns in a forked process; 99 where it raises."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = call()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def two(desks: Desks) -> tuple[Desk, Desk]:
    """Return the desks of two workers in this one process, which takes them as a fork would."""
    first = Desk(0, desks._socks[0], desks._inboxes[0][0], [out for _, out in desks._inboxes],
                 desks._sessions, desks._salts)  # fmt: skip
    return first, Desk(1, desks._socks[1], desks._inboxes[1][0], first.outboxes, first.sessions, first.salts)


def test_client_comes_to_one_worker_always_and_clients_to_all() -> None:
    place = free()
    desks = Desks(config_of(TEXT), [place], 2)
    both = two(desks)
    seen = set()
    for _ in range(40):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for _ in range(3):
                client.sendto(b"hello", (place.host, place.port))
        counts = [len(heard(desk)) for desk in both]
        assert sorted(counts) == [0, 3]
        seen.add(counts.index(3))
    assert seen == {0, 1}
    desks.close()


def test_what_comes_while_there_is_no_worker_is_for_the_next_one() -> None:
    place = free()
    desks = Desks(config_of(TEXT), [place], 2)
    for _ in range(2):  # who has this number, and dies
        assert in_a_child(lambda: heard_by(desks, 1)) == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        total = 0
        for _ in range(20):
            client.sendto(b"hello", (place.host, place.port))
    for number in (0, 1):
        total += in_a_child(lambda number=number: heard_by(desks, number))  # type: ignore[misc]
    assert total == 20
    desks.close()


@pytest.mark.parametrize("address", [("192.0.2.1", 4321), ("fe80::1%lo", 4321, 0, 1)])
@pytest.mark.parametrize("size", [0, 1, 1400, 65_507])
def test_what_is_handed_over_arrives_whole(address: tuple[object, ...], size: int) -> None:
    desks = Desks(config_of(TEXT), [free()], 2)
    one, other = two(desks)
    datagram = os.urandom(size)
    assert one.hand_over(1, 3, address, datagram)
    assert parse_handed(other.inbox.recv(1 << 17)) == (3, address, datagram)
    desks.close()


def test_worker_that_does_not_read_loses_what_is_for_it() -> None:
    desks = Desks(config_of(TEXT), [free()], 2)
    one, other = two(desks)
    count = 0
    while one.hand_over(1, 0, ("192.0.2.1", 1), bytes(1400)):
        count += 1
        assert count < 100_000
    assert count >= 30
    other.inbox.recv(1 << 17)
    assert one.hand_over(1, 0, ("192.0.2.1", 1), b"")
    desks.close()


def sockets() -> set[int]:
    """Return the inodes of the sockets that this process has open."""
    found = set()
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # that by which the others were listed
            status = os.fstat(fd)
            if stat.S_ISSOCK(status.st_mode):
                found.add(status.st_ino)
    return found


def test_place_that_is_taken_is_told_and_no_socket_is_left_open() -> None:
    place = free()
    before = sockets()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((place.host, place.port))
        with pytest.raises(SystemChangeError, match="another program listens there"):
            Desks(config_of(TEXT), [free(), place], 2)
    assert sockets() <= before  # some of which earlier tests may have left to the garbage collector


def test_there_are_none_where_no_datagrams_are_served() -> None:
    assert desks_of(config_of(""), [], 2) is None
    assert desks_of(config_of(TEXT + "udp = false\n"), [free()], 2) is None
    made = desks_of(config_of(TEXT), [free()], 1)
    assert made is not None
    made.close()
