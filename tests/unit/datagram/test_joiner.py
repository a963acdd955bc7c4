"""What goes to the client in one frame."""

from tests.unit.recorder import Recorder
from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, TARGET, packed
from tunproxy.datagram.joiner import Joiner
from tunproxy.datagram.outlet import Outlet
from tunproxy.wire.ip import UDP, Endpoints

ONE = Endpoints(packed(TARGET), packed(CLIENT), 7, 5000, UDP)
OTHER = Endpoints(packed("198.51.100.8"), packed(CLIENT), 7, 5000, UDP)


def joined(*datagrams: tuple[Endpoints, int], uso: bool = True) -> list[list[int]]:
    """Return the sizes of the datagrams in each frame."""
    sink = Recorder()
    joiner = Joiner(Outlet(sink, 1500, uso, uso))
    for ends, size in datagrams:
        joiner.add(ends, memoryview(bytes(size)), size)
    joiner.flush()
    joiner.flush()
    return [[len(payload) for payload in frames.read(frame).datagrams()] for frame in sink.frames]


def test_equal_sizes_of_one_source_are_joined_and_a_shorter_one_ends_them() -> None:
    assert joined((ONE, 9), (ONE, 9), (ONE, 3), (ONE, 3)) == [[9, 9, 3], [3]]
    assert joined((ONE, 9), (ONE, 10)) == [[9], [10]]


def test_sources_are_not_mixed_and_order_stays() -> None:
    assert joined((ONE, 9), (OTHER, 9), (ONE, 9), (ONE, 9)) == [[9], [9], [9, 9]]


def test_empty_datagrams_stay_alone() -> None:
    assert joined((ONE, 0), (ONE, 0), (ONE, 9), (ONE, 0)) == [[0], [0], [9], [0]]


def test_no_frame_holds_more_than_it_may() -> None:
    assert [len(frame) for frame in joined(*[(ONE, 9)] * 130)] == [64, 64, 2]
    assert [sum(frame) for frame in joined(*[(ONE, 1400)] * 50)] == [46 * 1400, 4 * 1400]


def test_device_that_takes_one_at_a_time_gets_one_at_a_time() -> None:
    assert joined((ONE, 9), (ONE, 9), uso=False) == [[9], [9]]
