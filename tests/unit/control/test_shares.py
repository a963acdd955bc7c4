"""Descriptors are shared out so that a burst of one kind leaves some for the others."""

import resource

import pytest

from tests.unit.datagram.world import World
from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT
from tunproxy.control.shares import LEAST, RESERVED, raise_file_limit, share_out
from tunproxy.datagram.echo import MAX_SESSIONS
from tunproxy.datagram.table import MAX_ASSOCIATIONS


@pytest.mark.parametrize("limit", [0, 64, 80, 256, 1024, 4096, 65_536, 1 << 20])
def test_shares_are_no_more_than_there_is_and_most_is_for_tcp(limit: int) -> None:
    shares = share_out(limit)
    assert shares.flows + shares.associations + shares.pings == max(limit - RESERVED, LEAST)
    assert shares.associations >= 4
    assert shares.pings >= 1
    assert shares.flows > shares.associations + shares.pings


def test_shares_of_a_small_limit() -> None:
    shares = share_out(256)
    assert (shares.flows, shares.associations, shares.pings) == (132, 48, 12)


def test_shares_end_where_nobody_needs_more() -> None:
    shares = share_out(1 << 20)
    assert (shares.associations, shares.pings) == (MAX_ASSOCIATIONS, MAX_SESSIONS)


def test_burst_of_udp_sources_leaves_the_descriptors_of_tcp_alone() -> None:
    shares = share_out(256)
    with World(max_associations=shares.associations, max_sessions=shares.pings) as world:
        peer = world.peer()
        for port in range(2000, 2500):
            world.now += 1
            world.inbound(frames.udp(b"x", source=(CLIENT, port), target=peer.end))
        assert world.sockets.open == shares.associations
        assert world.counters.associations_evicted == 500 - shares.associations
        keys = {key[4:6] for key in world.table._associations}
        assert keys == {port.to_bytes(2, "big") for port in range(2500 - shares.associations, 2500)}


def test_limit_of_open_files_is_raised_to_what_is_allowed() -> None:
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before, 512), hard))
    try:
        assert raise_file_limit() == most
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == most
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))
