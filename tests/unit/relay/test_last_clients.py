"""The end of a listening socket, as the kernel has it."""

import errno
import socket

import pytest

from tests.unit.relay.world import WITHIN
from tunproxy.relay.last_clients import SO_DETACH_FILTER, let_nobody_begin, let_speak


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_has_begun_is_served_and_who_begins_later_is_not(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        listener.settimeout(WITHIN)
        at = listener.getsockname()[:2]
        with socket.create_connection(at) as early, socket.socket(family) as late:
            assert let_nobody_begin(listener)
            late.setblocking(False)
            assert late.connect_ex(at) == errno.EINPROGRESS
            with listener.accept()[0] as served:
                early.sendall(b"hello")
                assert served.recv(10) == b"hello"
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
            assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0  # it waits, and was not told no
            with pytest.raises(OSError, match="not connected"):
                late.getpeername()


def test_connection_that_is_made_behind_the_filter_loses_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert let_nobody_begin(listener)
        assert let_nobody_begin(listener)  # once more is as good
        let_speak(listener)
        with pytest.raises(FileNotFoundError):
            listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        let_speak(listener)
        with socket.create_connection(listener.getsockname(), WITHIN):
            listener.accept()[0].close()


def test_kernel_that_takes_no_filter_is_told() -> None:
    with socket.socket() as sock:
        sock.close()
        assert not let_nobody_begin(sock)
        let_speak(sock)
