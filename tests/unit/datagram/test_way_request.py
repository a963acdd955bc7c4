"""What an opener hands over becomes the link that it is for."""

import errno

from tests.unit.datagram.relays import Mask, Proxied, StreamRelay
from tests.unit.flow.test_watching import Watcher
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


def test_attempts_are_noted_for_all_flows_that_wait_for_the_way() -> None:
    watcher = Watcher()
    with Proxied(at_once=False, watcher=watcher) as lab:
        lab.world.inbound(frames.udp(b"x", target=(TARGET, 7)), frames.udp(b"y", target=(TARGET, 9)))
        [(_, _, request)] = lab.ways.asked
        request.tried("192.0.2.1:1080", 700, "")
        request.tried("proxy", 900, "the proxy does not know the command")
        request.failed(errno.ECONNREFUSED)
        tried = [("192.0.2.1:1080", 700, ""), ("proxy", 900, "the proxy does not know the command")]
        assert [life.attempts() for life in watcher.over] == [tried, tried]
