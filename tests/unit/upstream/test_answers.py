"""What upstreams' coroutines answer: taken where the packet path can use it, else named and closed."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from tunproxy.flow.codec import Codec
from tunproxy.flow.framing import Framing
from tunproxy.flow.seal import Seal
from tunproxy.flow.stream_framing import StreamFraming
from tunproxy.upstream.answers import check_stream, check_way, discard_stream, discard_way, socket_in
from tunproxy.upstream.base import Opened
from tunproxy.upstream.datagrams import DatagramStream, DatagramWay

pytestmark = pytest.mark.filterwarnings("error")  # a socket that nobody closed


@pytest.fixture
def stream() -> Iterator[socket.socket]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sock,
    ):
        sock.setblocking(False)
        yield sock


@pytest.fixture
def datagrams() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", 9))
        sock.setblocking(False)
        yield sock


def check(opened: Opened) -> None:
    loop = asyncio.new_event_loop()
    try:
        check_stream(opened, loop)
    finally:
        loop.close()


def test_stream_that_a_flow_can_use_passes(stream: socket.socket) -> None:
    check(Opened(stream))
    check(Opened(stream, b"220 hello", Codec()))


def test_stream_that_blocks_or_lacks_octets_or_a_codec_is_named(stream: socket.socket) -> None:
    with pytest.raises(TypeError, match="as octets of the target"):
        check(Opened(stream, "220"))  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="as codec"):
        check(Opened(stream, b"", "rot13"))  # type: ignore[arg-type]  # on purpose
    stream.setblocking(True)
    with pytest.raises(ValueError, match="blocking socket"):
        check(Opened(stream))


def test_what_is_no_stream_is_named(datagrams: socket.socket) -> None:
    with pytest.raises(ValueError, match="not a plain stream"):
        check(Opened(datagrams))
    with pytest.raises(TypeError, match="not a socket"):
        socket_in("socket")
    with KernelStream() as sock, pytest.raises(ValueError, match="not connected"):
        check(Opened(sock))


class KernelStream(socket.socket):
    """A stream that leads nowhere."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.setblocking(False)


def test_way_that_the_packet_path_can_use_passes(datagrams: socket.socket, stream: socket.socket) -> None:
    check_way(DatagramWay(datagrams, Framing()), False)
    check_way(DatagramWay(datagrams, Framing(), stream), False)


def test_way_that_is_none_is_named(datagrams: socket.socket, stream: socket.socket) -> None:
    with pytest.raises(TypeError, match="not a DatagramWay"):
        check_way(None, False)
    with pytest.raises(ValueError, match="not a UDP socket"):
        check_way(DatagramWay(stream, Framing()), False)
    with pytest.raises(TypeError, match="as framing"):
        check_way(DatagramWay(datagrams, "none"), False)  # type: ignore[arg-type]  # on purpose
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lonely:
        lonely.setblocking(False)
        with pytest.raises(ValueError, match="not connected"):
            check_way(DatagramWay(lonely, Framing()), False)
    stream.setblocking(True)
    with pytest.raises(ValueError, match="blocking stream"):
        check_way(DatagramWay(datagrams, Framing(), stream), False)
    datagrams.setblocking(True)
    with pytest.raises(ValueError, match="blocking socket"):
        check_way(DatagramWay(datagrams, Framing()), False)


def test_stream_for_datagrams_that_the_packet_path_can_use_passes(stream: socket.socket) -> None:
    check_way(DatagramStream(stream, StreamFraming()), True)
    check_way(DatagramStream(stream, StreamFraming(), b"rest", Codec()), True)


def test_stream_for_datagrams_that_is_none_is_named(datagrams: socket.socket, stream: socket.socket) -> None:
    with pytest.raises(TypeError, match="not a DatagramWay"):
        check_way(DatagramStream(stream, StreamFraming()), False)
    with pytest.raises(TypeError, match="not a DatagramStream"):
        check_way(DatagramWay(datagrams, Framing()), True)
    with pytest.raises(TypeError, match="as framing"):
        check_way(DatagramStream(stream, Framing()), True)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="as octets"):
        check_way(DatagramStream(stream, StreamFraming(), "rest"), True)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="as codec"):
        check_way(DatagramStream(stream, StreamFraming(), b"", "none"), True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not a plain stream"):
        check_way(DatagramStream(datagrams, StreamFraming()), True)
    stream.setblocking(True)
    with pytest.raises(ValueError, match="blocking socket"):
        check_way(DatagramStream(stream, StreamFraming()), True)


def test_seal_that_is_none_is_named(datagrams: socket.socket) -> None:
    check_way(DatagramWay(datagrams, Framing(), seal=Seal()), False)
    with pytest.raises(TypeError, match="as seal"):
        check_way(DatagramWay(datagrams, Framing(), seal="wax"), False)  # type: ignore[arg-type]


def test_what_was_answered_in_vain_is_closed(datagrams: socket.socket, stream: socket.socket) -> None:
    discard_stream(None)
    discard_way("nothing")
    discard_way(DatagramWay(datagrams, Framing(), stream))
    assert datagrams.fileno() == stream.fileno() == -1
    third = KernelStream()
    discard_way(DatagramStream(third, StreamFraming()))
    assert third.fileno() == -1
    other = KernelStream()
    discard_stream(Opened(other))
    assert other.fileno() == -1
    discard_stream(other)
