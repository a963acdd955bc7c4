"""A link that is none does nothing that could be mistaken for something."""

import pytest

from tests.unit.datagram.test_path import path
from tests.unit.datagram.world import World
from tunproxy.datagram.link import Link


def test_every_step_is_a_links_own() -> None:
    with World() as world:
        link, made = Link(), path(world)
        for step in (
            lambda: link.begin(0),
            lambda: link.add(made),
            lambda: link.send_one(made, b"", 0),
            lambda: link.send_several(made, [], 1, 0),
            link.close,
        ):
            with pytest.raises(NotImplementedError):
                step()
