"""Octets are put down to the flow of their source."""

from tests.unit.datagram.test_path import path
from tests.unit.datagram.world import World
from tests.unit.wire.frames import CLIENT, TARGET, packed
from tunproxy.datagram.path import Path
from tunproxy.datagram.tally import Tally
from tunproxy.flow.life import FlowLife
from tunproxy.flow.verdict import DIAL, FlowInfo, Verdict
from tunproxy.wire.ip import UDP, Endpoints


def ends_of(target: str, port: int) -> Endpoints:
    return Endpoints(packed(target), packed(CLIENT), port, 5000, UDP)


def test_octets_of_each_source_are_its_flows_and_those_of_strangers_nobodys() -> None:
    with World() as world:
        paths: dict[bytes, Path] = {}
        for number, target in enumerate((TARGET, "198.51.100.8")):
            key = packed(CLIENT) + packed(target) + (5000).to_bytes(2, "big") + (7).to_bytes(2, "big")
            made = Path(key, key, ("", 0), ends_of(target, 7), path(world).carrier)
            info = FlowInfo("udp", packed(CLIENT), 5000, packed(target), 7)
            made.life = FlowLife(number, info, Verdict(DIAL, "direct"), 0)
            paths[key] = made
        tally = Tally(paths)
        one, other = ends_of(TARGET, 7), ends_of("198.51.100.8", 7)
        for ends, size in ((one, 5), (one, 6), (other, 7), (ends_of("203.0.113.1", 7), 8), (one, 1)):
            tally.add(ends, size)
        assert [made.life.down for made in paths.values() if made.life is not None] == [12, 7]
