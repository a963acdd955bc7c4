"""What a table remembers of its paths."""

from tests.unit.datagram.world import World
from tests.unit.wire import frames
from tunproxy.datagram.context import MAX_PATHS


def test_paths_of_all_associations_are_bounded() -> None:
    with World() as world:
        for client_port in range(1, 21):
            for port in range(1, 1001):
                frame = frames.udp(b"", source=(frames.CLIENT, client_port), target=("198.51.100.8", port))
                world.table.on_udp(frame, frames.parsed(frame), world.now)
            world.table.end_batch(world.now)
        context = world.table._context
        assert len(context.paths) == MAX_PATHS
        assert sum(len(association.paths) for association in context.associations.values()) == MAX_PATHS


def test_closing_an_association_forgets_its_paths() -> None:
    with World() as world:
        for client_port in (1, 2):
            for port in (1, 2, 3):
                source = (frames.CLIENT, client_port)
                world.inbound(frames.udp(b"", source=source, target=("198.51.100.8", port)))
        context = world.table._context
        next(iter(context.associations.values())).close()
        assert len(context.paths) == 3
