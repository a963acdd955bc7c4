"""How much waits, and what of it."""

from tests.unit.datagram.test_path import path
from tests.unit.datagram.world import World
from tunproxy.datagram.kept import MOST_DATAGRAMS, MOST_OCTETS, MOST_OF_ALL, Kept, KeptTotal


def test_what_is_taken_is_what_was_added_in_order() -> None:
    with World() as world:
        found = path(world)
        total = KeptTotal()
        kept = Kept(total)
        assert kept.add(found, b"one", 3, 0, 7) == 0
        assert kept.add(found, memoryview(b"aabbc"), 5, 2, 8) == 0
        assert (len(kept), total.octets) == (4, 8)
        assert [(sent.payload, sent.unit, sent.traits) for sent in kept.take()] == [
            (b"one", 0, 7),
            (b"aabbc", 2, 8),
        ]
        assert (len(kept), total.octets, kept.take()) == (0, 0, [])


def test_datagrams_are_bounded_and_those_in_front_stay() -> None:
    with World() as world:
        found = path(world)
        kept = Kept(KeptTotal())
        assert kept.add(found, bytes(62 * 10), 62 * 10, 10, 0) == 0
        assert kept.add(found, b"aabbc", 5, 2, 0) == 1
        assert len(kept) == MOST_DATAGRAMS
        assert kept.add(found, b"", 0, 0, 0) == 1
        assert [sent.payload for sent in kept.take()] == [bytes(620), b"aabb"]


def test_octets_are_bounded() -> None:
    with World() as world:
        found = path(world)
        kept = Kept(KeptTotal())
        assert kept.add(found, bytes(65_507), 65_507, 0, 0) == 0
        assert kept.add(found, bytes(100), 100, 10, 0) == 8
        assert kept.add(found, bytes(10), 10, 0, 0) == 1
        assert kept.add(found, b"", 0, 0, 0) == 0
        assert sum(len(sent.payload) for sent in kept.take()) == 65_527 <= MOST_OCTETS


def test_octets_of_all_are_bounded() -> None:
    with World() as world:
        found = path(world)
        total = KeptTotal()
        queues = [Kept(total) for _ in range(MOST_OF_ALL // 65_000 + 2)]
        lost = [queue.add(found, bytes(65_000), 65_000, 0, 0) for queue in queues]
        assert lost == [0] * (len(queues) - 2) + [1] * 2
        assert total.octets <= MOST_OF_ALL
        queues[0].take()
        assert queues[-1].add(found, bytes(65_000), 65_000, 0, 0) == 0
