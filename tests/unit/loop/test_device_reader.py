"""Frames come out as they went in, large and small in any order."""

import os
import random
import socket
from collections.abc import Iterator

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.device.tun import open_tun
from tunproxy.flow.counters import Counters
from tunproxy.flow.small_reads import LARGE
from tunproxy.loop.dataplane import DeviceSink
from tunproxy.loop.device_reader import FRAME_LEN, LARGE_RUN, DeviceReader


@pytest.fixture
def wire() -> Iterator[tuple[socket.socket, DeviceReader]]:
    """A socket pair that keeps message boundaries, as a device does."""
    device, wire = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    device.setblocking(False)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    yield wire, DeviceReader(device.fileno())
    device.close()
    wire.close()


def test_nothing_there_is_none(wire: tuple[socket.socket, DeviceReader]) -> None:
    assert wire[1].read() is None
    assert wire[1].read() is None


@pytest.mark.parametrize("size", [1, 60, LARGE - 1, LARGE, LARGE + 1, FRAME_LEN])
def test_frame_comes_whole_whatever_came_before(size: int, wire: tuple[socket.socket, DeviceReader]) -> None:
    sender, reader = wire
    for before in (60, FRAME_LEN):
        for expected in (os.urandom(before), os.urandom(size)):
            sender.send(expected)
            assert reader.read() == expected
        assert reader.read() is None


def test_frames_in_any_order(wire: tuple[socket.socket, DeviceReader]) -> None:
    sender, reader = wire
    rng = random.Random(1)
    kept = []
    for _ in range(20 * LARGE_RUN):
        frame = rng.randbytes(rng.choice([40, 1500, LARGE, FRAME_LEN]))
        sender.send(frame)
        kept.append((frame, reader.read()))
        if rng.random() < 0.3:
            assert reader.read() is None
    assert all(sent == got for sent, got in kept), "and a later read changes none of them"


def test_lost_device_raises() -> None:
    device, wire = socket.socketpair()
    reader = DeviceReader(device.fileno())
    device.close()
    wire.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader.read()


@needs_namespaces
def test_device_that_is_down_has_nothing_and_loses_what_it_is_given() -> None:
    def check() -> None:
        device = open_tun("tun0")
        counters = Counters()
        sink = DeviceSink(device.fd, counters)
        assert DeviceReader(device.fd).read() is None
        sink.write(bytes(10) + b"E" + bytes(30))
        sink.write_parts(bytes(10), [b"E" + bytes(30)])
        device.close()
        sink.write(bytes(10) + b"E" + bytes(30))
        assert counters.snapshot()["drop_device_write"] == 3

    isolated(check)
