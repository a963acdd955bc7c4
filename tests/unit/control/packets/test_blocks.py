"""Blocks of a capture file: names once, bounds, and figures that fit together."""

import pytest

from tunproxy.control.packets import blocks, pcapng
from tunproxy.control.packets.blocks import FileBlocks, Wish
from tunproxy.control.packets.pcapng import Blocks, counts_of
from tunproxy.control.packets.shipping import Name, Packet

PACKET = Packet(10**18, True, b"data", 4, 0, ())


def test_octets_are_those_of_all_blocks() -> None:
    made = FileBlocks(Wish(), 1)
    octets = made.head({}) + made.block(0, PACKET) + made.statistics(1, 0, 0)
    assert (made.packets, made.octets) == (1, len(octets))


def test_name_is_in_the_file_once_as_long_as_it_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MAX_NAMES", 2)
    made = FileBlocks(Wish(), 1)
    first = Name(bytes(4), "one.example")
    assert [bool(made.block(0, first)) for _ in range(2)] == [True, False]
    for name in ("two.example", "three.example"):
        made.block(0, Name(bytes(4), name))
    assert made.block(0, first), "it was forgotten, and nobody may do without it"


@pytest.mark.parametrize(
    ("wish", "expected"),
    [(Wish(), False), (Wish(count=1), True), (Wish(count=2), False), (Wish(size=1), True)],
)
def test_bounds(wish: Wish, expected: bool) -> None:
    made = FileBlocks(wish, 1)
    assert not made.is_full()
    made.block(0, PACKET)
    assert made.is_full() is expected


def test_statistics_never_say_less_than_what_is_in_the_file() -> None:
    made = FileBlocks(Wish(), 1)
    for _ in range(3):
        made.block(0, PACKET)
    ((_, block),) = Blocks().feed(made.statistics(1, 2, 0))
    assert counts_of(block) == {pcapng.RECEIVED: 5, pcapng.DROPPED: 2, pcapng.DELIVERED: 3}
