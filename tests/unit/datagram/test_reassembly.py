"""Fragments to packets; dpkt and hypothesis make the fragments."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, check_sums, packed, parsed
from tests.unit.wire.mutation import repair
from tunproxy.datagram.reassembly import Reassembler
from tunproxy.flow.counters import Counters
from tunproxy.wire.vnet import PLAIN, VNET_LEN

SECOND = 1_000_000
both_families = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])


def fragment(
    data: bytes, at: int, more: bool, *, ipv6: bool = False, identification: int = 7, traffic_class: int = 0
) -> bytes:
    """Return one fragment, which carries data at octet `at`, as a frame."""
    if ipv6:
        field = struct.pack("!BBHI", 17, 0, at | more, identification)
        return PLAIN + frames.ip(
            field + data, 44, source=CLIENT6, target=TARGET6, traffic_class=traffic_class, hop_limit=60
        )
    packet = bytearray(
        frames.ip(
            data,
            17,
            source=CLIENT,
            target=TARGET,
            df=False,
            identification=identification,
            traffic_class=traffic_class,
            hop_limit=60,
        )
    )
    packet[6:8] = struct.pack("!H", at >> 3 | 0x2000 * more)
    packet[10:12] = b"\0\0"
    packet[10:12] = struct.pack("!H", ~frames.summed(bytes(packet[:20])) & 0xFFFF)
    return PLAIN + bytes(packet)


def fragments(data: bytes, step: int, **options: object) -> list[bytes]:
    return [
        fragment(data[at : at + step], at, at + step < len(data), **options)  # type: ignore[arg-type]
        for at in range(0, len(data), step)
    ]


class Box:
    """A reassembler and its counters."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.reassembler = Reassembler(self.counters)
        self.now = SECOND

    def add(self, frame: bytes) -> bytes | None:
        return self.reassembler.add(frame, parsed(frame), self.now)

    def add_all(self, pieces: list[bytes]) -> list[bytes]:
        return [whole for whole in map(self.add, pieces) if whole is not None]

    def drops(self) -> dict[str, int]:
        found = self.counters.snapshot()
        return {
            name.removeprefix("drop_"): count for name, count in found.items() if name.startswith("drop_")
        }


def datagram(size: int, ipv6: bool) -> bytes:
    """Return the UDP part of a client's datagram."""
    source, target = ((CLIENT6, 5000), (TARGET6, 7000)) if ipv6 else ((CLIENT, 5000), (TARGET, 7000))
    frame = frames.udp(bytes(index * 7 & 255 for index in range(size)), source=source, target=target)
    return frame[VNET_LEN + (40 if ipv6 else 20) :]


@both_families
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_fragments_in_any_order_make_the_packet(ipv6: bool, data: st.DataObject) -> None:
    whole = datagram(data.draw(st.integers(9, 9000)), ipv6)
    step = 8 * data.draw(st.integers(1, 200))
    pieces = fragments(whole, step, ipv6=ipv6)
    order = data.draw(st.permutations(pieces)) if len(pieces) < 40 else pieces[::-1]
    if len(order) < 2:
        return
    box = Box()
    [frame] = box.add_all(list(order))
    assert len(box.reassembler) == 0
    view = parsed(frame)
    assert frame[:VNET_LEN] == PLAIN
    assert frame[view.payload_off : view.end] == whole
    assert view.hop_limit == 60
    assert not view.is_fragment
    assert not view.dont_fragment or ipv6
    check_sums(frame[VNET_LEN:])
    assert box.drops() == {}


BLOCKS = 10  # of eight octets
PIECES = st.lists(st.tuples(st.integers(0, BLOCKS - 1), st.integers(1, 4)), max_size=14)


@both_families
@settings(deadline=None, derandomize=True, max_examples=300)
@given(pieces=PIECES)
def test_pieces_agree_with_a_model(ipv6: bool, pieces: list[tuple[int, int]]) -> None:
    """A packet comes of pieces that cover it once; repetitions are harmless, overlaps end it (RFC 5722)."""
    box = Box()
    upper = datagram(BLOCKS * 8 - 8, ipv6)
    kept: set[tuple[int, int]] = set()
    is_refused = False
    for start, size in pieces:
        end = min(start + size, BLOCKS)
        whole = box.add(fragment(upper[start * 8 : end * 8], start * 8, end < BLOCKS, ipv6=ipv6))
        if (start, end) not in kept:
            is_refused = is_refused or any(start < right and left < end for left, right in kept)
            kept.add((start, end))
        is_whole = not is_refused and sum(right - left for left, right in kept) == BLOCKS
        assert (whole is not None) == is_whole
        if whole is not None:
            assert whole.endswith(upper)
            check_sums(whole[VNET_LEN:])
            kept.clear()


@both_families
def test_largest_packet_is_made_and_a_larger_one_refused(ipv6: bool) -> None:
    room = 65535 if ipv6 else 65515
    box = Box()
    [frame] = box.add_all(fragments(bytes(room), 1280, ipv6=ipv6))
    assert len(frame) == VNET_LEN + room + (40 if ipv6 else 20)
    assert box.add_all(fragments(bytes(room + 1), 1280, ipv6=ipv6, identification=8)) == []
    assert box.drops() == {"fragment": 1}


@both_families
def test_exact_repetition_is_harmless(ipv6: bool) -> None:
    box = Box()
    first, second = fragments(datagram(100, ipv6), 64, ipv6=ipv6)
    assert box.add_all([first, first, second]) != []
    assert box.drops() == {"fragment": 1}


@both_families
@pytest.mark.parametrize(
    "pieces",
    [
        [(0, 64, True), (56, 64, False)],
        [(64, 64, False), (0, 72, True)],
        [(0, 64, True), (0, 32, True)],
        [(32, 32, True), (0, 96, True)],
        [(64, 64, False), (128, 8, True), (0, 64, True)],
        [(64, 8, False), (128, 8, True)],
        [(128, 8, True), (64, 8, False)],
        [(64, 8, False), (72, 8, False)],
    ],
    ids=str,
)
def test_overlap_refuses_the_packet(ipv6: bool, pieces: list[tuple[int, int, bool]]) -> None:
    box = Box()
    made = [fragment(bytes([at]) * size, at, more, ipv6=ipv6) for at, size, more in pieces]
    assert box.add_all(made) == []
    assert box.drops()["fragment_overlap"] == 1
    assert box.add_all(fragments(bytes(200), 64, ipv6=ipv6)) == []  # what else comes of it is swallowed
    box.now += 31 * SECOND
    assert len(box.add_all(fragments(bytes(200), 64, ipv6=ipv6))) == 1


@both_families
@pytest.mark.parametrize(("size", "at", "more"), [(7, 0, True), (0, 8, True), (16, 65528, False)], ids=str)
def test_malformed_fragment_is_counted(ipv6: bool, size: int, at: int, more: bool) -> None:
    box = Box()
    assert box.add(fragment(bytes(size), at, more, ipv6=ipv6)) is None
    assert box.drops() == {"fragment": 1}


def test_packets_are_told_apart() -> None:
    box = Box()
    pieces = [fragments(datagram(size, False), 64, identification=size) for size in (100, 101, 102)]
    mixed = [piece for group in zip(*pieces, strict=True) for piece in group]
    assert [len(frame) for frame in box.add_all(mixed)] == [VNET_LEN + 28 + size for size in (100, 101, 102)]


@both_families
def test_incomplete_packet_is_given_up_after_30_seconds(ipv6: bool) -> None:
    box = Box()
    first, second = fragments(datagram(100, ipv6), 64, ipv6=ipv6)
    box.add(first)
    box.now += 31 * SECOND
    assert box.add(second) is None
    assert box.drops() == {"fragment_timeout": 1}
    assert len(box.reassembler) == 1


def test_count_of_packets_is_bounded() -> None:
    box = Box()
    for number in range(200):
        box.add(fragment(bytes(8), 0, True, identification=number))
    assert len(box.reassembler) == 64
    assert box.drops() == {"fragment_limit": 136}


def test_flood_from_one_source_leaves_the_packet_of_another_alone() -> None:
    box = Box()
    first, second = fragments(datagram(100, False), 64)
    box.add(first)
    for number in range(200):
        piece = bytearray(fragment(bytes(8), 0, True, identification=number))
        piece[VNET_LEN + 12 : VNET_LEN + 16] = packed("10.0.0.9")
        repair(piece)
        box.add(bytes(piece))
    assert box.add(second) is not None


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        (bytes([17, 0, 0, 1, 0, 0, 0, 9]) + bytes(120), "fragment"),  # a fragment header behind the first
        (bytes([17, 0, 0, 0, 0, 0, 0, 9]) + bytes(120), ""),  # an atomic one (RFC 6946)
    ],
    ids=["nested", "atomic"],
)
def test_fragment_header_inside_a_packet(inner: bytes, reason: str) -> None:
    box = Box()
    made = [bytearray(piece) for piece in fragments(inner, 64, ipv6=True)]
    for piece in made:
        piece[VNET_LEN + 40] = 44
    found = box.add_all([bytes(piece) for piece in made])
    assert len(found) == (0 if reason else 1)
    assert box.drops() == ({reason: 1} if reason else {})


def test_header_chain_that_goes_wrong_behind_the_fragment_header_is_counted() -> None:
    box = Box()
    made = [bytearray(piece) for piece in fragments(bytes([17, 255]) + bytes(100), 64, ipv6=True)]
    for piece in made:
        piece[VNET_LEN + 40] = 60  # destination options, longer than the packet
    assert box.add_all([bytes(piece) for piece in made]) == []
    assert box.drops() == {"bad_extension_header": 1}


def test_atomic_fragment_disturbs_no_packet_with_its_identification() -> None:
    box = Box()
    first, second = fragments(datagram(100, True), 64, ipv6=True)
    box.add(first)
    assert not parsed(fragment(datagram(10, True), 0, False, ipv6=True)).is_fragment
    assert box.add(second) is not None


def test_memory_is_bounded() -> None:
    box = Box()
    for number in range(63):
        for at in range(0, 64000, 64000):
            box.add(fragment(bytes(64000), at, True, identification=number))
    for number in range(63):
        for at in range(64000, 65400, 8):
            box.add(fragment(bytes(8), at, True, identification=number))
    assert box.drops()["fragment_limit"] > 0
    assert len(box.reassembler) < 63


def test_congestion_mark_survives() -> None:
    box = Box()
    pieces = fragments(datagram(200, False), 64, traffic_class=0b10)
    marked = fragments(datagram(200, False), 64, traffic_class=0b11)
    [frame] = box.add_all([pieces[0], marked[1], *pieces[2:]])
    assert parsed(frame).traffic_class == 0b11


def test_extension_header_behind_the_fragment_header_stays() -> None:
    upper = datagram(100, True)
    options = bytes([17, 0, 1, 4, 0, 0, 0, 0])
    pieces = fragments(options + upper, 64, ipv6=True)
    made = [bytearray(piece) for piece in pieces]
    for piece in made:
        piece[VNET_LEN + 40] = 60
    [frame] = Box().add_all([bytes(piece) for piece in made])
    view = parsed(frame)
    assert view.protocol == 17
    assert frame[view.payload_off : view.end] == upper


def test_any_fragments_never_raise() -> None:
    source = random.Random(5722)
    box = Box()
    for _ in range(4000):
        ipv6 = source.random() < 0.5
        at = 8 * source.randrange(0, 40)
        data = source.randbytes(source.randrange(0, 64))
        frame = fragment(data, at, source.random() < 0.8, ipv6=ipv6, identification=source.randrange(4))
        box.now += source.randrange(SECOND)
        if parsed(frame).is_fragment:
            box.add(frame)
    assert len(box.reassembler) <= 64


def test_addresses_of_the_packet_are_those_of_the_fragments() -> None:
    [frame] = Box().add_all(fragments(datagram(100, False), 64))
    view = parsed(frame)
    assert frame[view.src_off : view.src_off + 8] == packed(CLIENT) + packed(TARGET)
