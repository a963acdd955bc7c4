"""Copies of packets as they pass a device: what is wanted, in order, and no more than there is room for."""

from typing import Any

import pytest

from tests.unit.loop.rig import CLIENT, TARGET, Rig, syn
from tunproxy.flow.ports import Timed
from tunproxy.loop.copying import OVERHEAD, UNWANTED, WANTED, Copied, Copier, Mark, Marker, turned
from tunproxy.wire.ip import TCP, UDP

KEY4 = CLIENT + TARGET + b"\x9c\x40\x00\x50"  # ports 40000 and 80
PLENTY = 1 << 20


class Notes(Marker):
    """Marks every flow that it meets; which ones are wanted is for the test to say."""

    def __init__(self, wanted: int = int(WANTED)) -> None:
        super().__init__()
        self.wanted = wanted
        self.met: list[tuple[bytes, bool]] = []
        self.copier: Copier | None = None

    def meet(self, frame: bytes, is_up: bool) -> Mark:
        self.met.append((frame, is_up))
        key = frame[22:34] if is_up else turned(frame[22:34])
        mark = Mark(frame[19], key)
        mark.wanted = self.wanted
        if self.copier is not None:
            self.copier.know(mark)
        return mark


class Calls(Timed):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_deadline(self, now: int) -> None:
        self.count += 1


def copier(
    notes: Marker, rig: Rig, *, snaplen: int = 1000, room: int = PLENTY, shipper: Any = None
) -> Copier:
    made = Copier(notes, rig.dataplane, shipper or Calls(), snaplen, room)
    if isinstance(notes, Notes):
        notes.copier = made
    return made


@pytest.fixture
def rig() -> Any:
    made = Rig()
    yield made
    made.close()


def packet4(payload: bytes, *, protocol: int = 17, ports: bytes = b"\x9c\x40\x00\x50") -> bytes:
    """Return a frame of the client's, whose headers are no more than a copier looks at."""
    size = 24 + len(payload)
    return (
        bytes(10)
        + b"\x45\0"
        + size.to_bytes(2, "big")
        + bytes(5)
        + bytes([protocol, 0, 0])
        + CLIENT
        + TARGET
        + ports
        + payload
    )


def seen(copies: list[Copied]) -> list[tuple[bool, bytes, int, int]]:
    return [(each.is_up, each.data, int(each.length), int(each.lost)) for each in copies]


def test_both_directions_pass_the_tap_and_nothing_after_it(rig: Rig) -> None:
    mine = copier(Notes(), rig)
    small, large = packet4(b"small"), packet4(bytes(5000))
    rig.dataplane.copy_to([mine])
    for frame in (small, large, small):  # the one after a large one is read in another way
        rig.wire.send(frame)
        rig.dataplane.poll(0)
    rig.dataplane.sink.write(small)
    assert rig.wire.recv(100) == small
    copies = mine.hand_out()
    assert [(each.is_up, each.data, int(each.length)) for each in copies] == [
        (True, small[10:], len(small) - 10),
        (True, large[10:1010], len(large) - 10),
        (True, small[10:], len(small) - 10),
        (False, small[10:], len(small) - 10),
    ]
    assert 0 < copies[0].at <= copies[3].at
    assert rig.counters.frames_in == 3
    rig.dataplane.copy_to([])
    rig.wire.send(small)
    rig.dataplane.poll(0)
    rig.dataplane.sink.write(small)
    assert (mine.hand_out(), rig.counters.frames_in) == ([], 4)


def test_parts_are_one_packet_and_cut_at_snaplen(rig: Rig) -> None:
    notes = Notes()
    whole, short, head = (
        copier(notes, rig),
        copier(Notes(), rig, snaplen=30),
        copier(Notes(), rig, snaplen=20),
    )
    rig.dataplane.copy_to([whole, short, head])
    header = packet4(b"")
    rig.dataplane.sink.write_parts(header, [b"payload", memoryview(b"-and-more")])
    packet = header[10:] + b"payload-and-more"
    assert rig.wire.recv(1000) == header[:10] + packet
    assert seen(whole.copies) == [(False, packet, 40, 0)]
    assert seen(short.copies) == [(False, packet[:30], 40, 0)]
    assert seen(head.copies) == [(False, packet[:20], 40, 0)]


def test_flow_is_met_once_in_either_direction(rig: Rig) -> None:
    notes = Notes()
    mine = copier(notes, rig)
    frame = packet4(b"data")
    back = frame[:22] + turned(frame[22:34]) + frame[34:]
    for each, is_up in ((frame, True), (frame, True), (back, False)):
        mine.take(each, is_up, len(each), None)
    assert notes.met == [(frame, True)]
    assert len(mine.copies) == 3
    assert mine.copies[0].mark is mine.copies[2].mark
    assert mine.copies[0].mark.waiting == 3
    other = packet4(b"data", protocol=6)
    mine.take(other, True, len(other), None)  # the same ports of TCP are another flow
    assert len(notes.met) == 2


def test_flow_that_is_not_wanted_costs_no_copy(rig: Rig) -> None:
    notes = Notes(int(UNWANTED))
    mine = copier(notes, rig)
    for _ in range(3):
        mine.take(packet4(b"data"), True, 38, None)
    assert (mine.copies, len(notes.met), mine.held) == ([], 1, 0)


def test_syn_may_begin_another_flow_and_is_shown_again(rig: Rig) -> None:
    notes = Notes()
    mine = copier(notes, rig)
    first = syn(80)
    acknowledged = first[:43] + b"\x10" + first[44:]
    for frame in (first, acknowledged, acknowledged, first):
        mine.take(frame, True, len(frame), None)
    assert notes.met == [(first, True), (first, True)]


def test_mark_is_forgotten_unless_another_has_its_place(rig: Rig) -> None:
    mine = copier(Notes(), rig)
    for protocol in (TCP, UDP):
        old, new = Mark(protocol, KEY4), Mark(protocol, KEY4)
        mine.know(old)
        mine.know(new)
        mine.forget(old)
        assert mine.find(protocol, KEY4) is new
        mine.forget(new)
        assert mine.find(protocol, KEY4) is None


def test_what_there_is_no_room_for_is_lost_and_counted(rig: Rig) -> None:
    mine = copier(Notes(), rig, room=500)
    frame = packet4(bytes(100))
    for _ in range(4):
        mine.take(frame, True, len(frame), None)
    assert (len(mine.copies), mine.lost) == (2, 2)
    for each in mine.hand_out():
        mine.let_go(len(each.data) + OVERHEAD)
    assert mine.held == 0
    mine.take(frame, True, len(frame), None)
    mine.take(frame, True, len(frame), None)
    assert [int(each.lost) for each in mine.copies] == [2, 0]


def test_shipper_is_called_for_a_new_flow_and_for_much(rig: Rig) -> None:
    calls = Calls()
    mine = copier(Notes(), rig, snaplen=100_000, shipper=calls)
    frame = packet4(bytes(60_000))
    mine.take(frame, True, len(frame), None)
    rig.dataplane.poll(0)
    assert calls.count == 1
    for each in mine.hand_out():
        each.mark.is_settled = True
    for _ in range(9):
        mine.take(frame, True, len(frame), None)
    rig.dataplane.poll(0)
    assert calls.count == 2


@pytest.mark.parametrize("size", range(10, 60))
def test_packet_that_is_cut_anywhere_is_shown_to_the_marker(size: int, rig: Rig) -> None:
    class Nobody(Marker):
        def meet(self, frame: bytes, is_up: bool) -> Mark:
            return Mark(0, b"")

    mine = copier(Nobody(), rig)
    for version in (b"\x45", b"\x46", b"\x60", b"\x00"):
        frame = (bytes(10) + version + bytes([6]) * 60)[:size]
        mine.take(frame, True, size, None)
        mine.take(frame, False, size, None)
    assert len(mine.copies) == 8


def test_frame_of_another_worker_is_shown(rig: Rig) -> None:
    notes = Notes()
    rig.dataplane.copy_to([copier(notes, rig)])
    rig.dataplane.take_over(syn(80), True, 0)
    assert [is_up for _, is_up in notes.met] == [True]


def test_turned_is_the_other_direction() -> None:
    assert turned(KEY4) == TARGET + CLIENT + b"\x00\x50\x9c\x40"
    six = bytes(range(16)) + bytes(16) + b"abcd"
    assert turned(turned(six)) == six
