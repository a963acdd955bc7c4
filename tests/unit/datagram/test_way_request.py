"""What an opener hands over becomes the link that it is for."""

from tests.unit.datagram.relays import Mask, Proxied, StreamRelay
from tests.unit.wire import frames
from tests.unit.wire.frames import TARGET
from tunproxy.datagram.link import Link
from tunproxy.datagram.sealed_link import SealedLink
from tunproxy.datagram.socket_link import SocketLink
from tunproxy.datagram.stream_link import StreamLink
from tunproxy.flow.ports import Descriptor


def link_of(lab: Proxied) -> Descriptor:
    """Return what is watched once a client has sent something."""
    lab.world.inbound(frames.udp(b"x", target=(TARGET, 7)))
    [watched] = lab.world.poller.watched.values()
    assert isinstance(watched, Link)
    return watched


def test_socket_becomes_a_link_with_headers_and_with_a_seal_a_sealed_one() -> None:
    with Proxied() as lab:
        assert type(link_of(lab)) is SocketLink
    with Proxied(seal=Mask()) as lab:
        assert type(link_of(lab)) is SealedLink


def test_stream_becomes_a_link_for_one_target() -> None:
    with Proxied(streams=StreamRelay()) as lab:
        assert type(link_of(lab)) is StreamLink
