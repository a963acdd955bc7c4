"""Datagrams as frames."""

import pytest

from tests.unit.datagram.world import Recorder
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, packed, read
from tunproxy.datagram.outlet import MAX_JOINED, Outlet
from tunproxy.wire.ip import UDP, Endpoints


def ends(ipv6: bool) -> Endpoints:
    source, destination = (TARGET6, CLIENT6) if ipv6 else (TARGET, CLIENT)
    return Endpoints(packed(source), packed(destination), 7000, 5000, UDP)


both_families = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])


@both_families
def test_datagram_that_fits_is_one_frame(ipv6: bool) -> None:
    sink = Recorder()
    outlet = Outlet(sink, 1500, True, True)
    room = 1452 if ipv6 else 1472
    for size in (0, 1, room):
        outlet.send(ends(ipv6), memoryview(bytes(size)))
    assert [len(read(frame).payload) for frame in sink.frames] == [0, 1, room]
    outlet.send(ends(ipv6), bytes(room + 1))
    assert len(sink.frames) == 5


@both_families
def test_joined_datagrams_are_one_frame(ipv6: bool) -> None:
    sink = Recorder()
    outlet = Outlet(sink, 1500, True, True)
    outlet.send_joined(ends(ipv6), [bytes(1400), memoryview(bytes(1400)), b"end"], 2803, 1400)
    [packet] = [read(frame) for frame in sink.frames]
    assert packet.gso_size == 1400
    assert [len(piece) for piece in packet.datagrams()] == [1400, 1400, 3]


@both_families
def test_largest_joined_frame_is_valid(ipv6: bool) -> None:
    sink = Recorder()
    outlet = Outlet(sink, 1500, True, True)
    outlet.send_joined(ends(ipv6), [bytes(MAX_JOINED)], MAX_JOINED, 1400)
    assert len(read(sink.frames[0]).payload) == MAX_JOINED


def test_joins_what_device_and_mtu_allow() -> None:
    both = Outlet(Recorder(), 1500, True, True)
    assert both.joins(ends(False), 1472)
    assert not both.joins(ends(False), 1473)
    assert both.joins(ends(True), 1452)
    assert not both.joins(ends(True), 1453)
    assert not both.joins(ends(False), 0)
    only4 = Outlet(Recorder(), 1500, True, False)
    assert only4.joins(ends(False), 100)
    assert not only4.joins(ends(True), 100)
    assert not Outlet(Recorder(), 1500, False, True).joins(ends(False), 100)
