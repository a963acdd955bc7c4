"""What a path gathers."""

from tests.unit.datagram.world import World
from tests.unit.wire import frames
from tests.unit.wire.frames import TARGET, packed
from tunproxy.datagram.association import Association
from tunproxy.datagram.path import MAX_GATHERED, MAX_SEGMENTS, Path


def path(world: World) -> Path:
    """Return a fresh path of a fresh association."""
    peer = world.peer()
    world.send(b"x", to=peer)
    [association] = world.table._associations.values()
    assert isinstance(association, Association)
    return association.open_path(b"key", packed(TARGET), peer.port, ("127.0.0.1", peer.port), world.now)


def gather(found: Path, *sizes: int, traits: int = 0) -> list[bool]:
    """Add datagrams of these sizes as long as they are taken; return the answers."""
    answers = []
    for size in sizes:
        answers.append(not found.parts or found.takes(size, traits))
        if answers[-1]:
            found.add(bytes(size), size, traits)
    return answers


def test_equal_sizes_are_taken_and_a_larger_one_not() -> None:
    with World() as world:
        assert gather(path(world), 100, 100, 101) == [True, True, False]


def test_a_shorter_one_is_the_last() -> None:
    with World() as world:
        assert gather(path(world), 100, 60, 60, 100) == [True, True, False, False]


def test_an_empty_one_stays_alone() -> None:
    with World() as world:
        assert gather(path(world), 0, 0) == [True, False]
        assert gather(path(world), 100, 0) == [True, False]


def test_other_traits_are_not_taken() -> None:
    with World() as world:
        found = path(world)
        gather(found, 100, traits=1)
        assert not found.takes(100, 2)


def test_no_more_is_taken_than_one_send_holds() -> None:
    with World() as world:
        assert sum(gather(path(world), *[10] * 100)) == MAX_SEGMENTS
        found = path(world)
        gather(found, *[1400] * 100)
        assert MAX_GATHERED - 1400 < found.total <= MAX_GATHERED


def test_clear_begins_anew() -> None:
    with World() as world:
        found = path(world)
        gather(found, 100, 60)
        found.clear()
        assert gather(found, 70, 70) == [True, True]
        assert found.total == 140


def test_frames_that_answer_come_from_the_target() -> None:
    with World() as world:
        found = path(world)
        assert found.ends.source == packed(TARGET)
        assert found.ends.destination == packed(frames.CLIENT)
