"""Connections that are closed and not finished, with the kernel's own table."""

import os
import socket

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.waiting import eventually
from tunproxy.host import closing
from tunproxy.host.closing import Closing
from tunproxy.host.netlink import Netlink

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ROW = "   0: 0100007F:1F90 0100007F:C350 {state} 00000000:00000000 01:00000000 00000000  0 0 {inode} 2 0 20\n"


def counted(*rows: tuple[str, int]) -> Closing:
    descriptor = os.memfd_create("table")
    os.write(
        descriptor, (HEAD + "".join(ROW.format(state=state, inode=inode) for state, inode in rows)).encode()
    )
    try:
        return closing.count_closing([descriptor])
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("state", ["04", "09", "0B"])
def test_connection_with_something_to_send_counts_as_unsent(state: str) -> None:
    assert counted((state, 0)) == Closing(unsent=1, half_closed=0)


def test_connection_that_waits_for_the_other_side_counts_as_half_closed() -> None:
    assert counted(("05", 0), ("05", 0)) == Closing(unsent=0, half_closed=2)


@pytest.mark.parametrize("state", ["01", "02", "06", "08", "0A"])
def test_connection_open_or_done_does_not_count(state: str) -> None:
    assert counted((state, 0)) == Closing(0, 0)


def test_connection_of_a_living_program_does_not_count() -> None:
    assert counted(("04", 7), ("05", 8)) == Closing(0, 0)


@needs_namespaces
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_kernel_shows_what_a_slow_reader_keeps_back(address: str) -> None:
    def check() -> None:
        with Netlink() as net:
            net.set_link("lo", up=True)
        tables = closing.open_tables()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.create_server((address, 0), family=family) as listener:
            client = socket.create_connection(listener.getsockname()[:2])
            server = listener.accept()[0]
        client.setblocking(False)
        while sends(client):
            pass
        assert closing.count_closing(tables) == Closing(0, 0)
        client.close()
        assert closing.count_closing(tables) == Closing(unsent=1, half_closed=0)
        while server.recv(1 << 20):
            pass
        # an acknowledgement may be under way
        assert eventually(lambda: closing.count_closing(tables) == Closing(unsent=0, half_closed=1))
        server.close()
        assert eventually(lambda: closing.count_closing(tables) == Closing(0, 0))

    isolated(check)


def sends(client: socket.socket) -> bool:
    try:
        return client.send(bytes(1 << 16)) > 0
    except BlockingIOError:
        return False
