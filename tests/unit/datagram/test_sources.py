"""Whom a header names: what is learned, what is bounded. What a client sees of it: test_proxied."""

from tests.unit.datagram.relays import FRAMING
from tests.unit.datagram.test_path import path
from tests.unit.datagram.world import World
from tests.unit.wire.frames import CLIENT, TARGET, packed
from tunproxy.datagram.path import Path
from tunproxy.datagram.sources import MAX_SOURCES, Sources
from tunproxy.flow.counters import Counters
from tunproxy.wire.ip import UDP, Endpoints


def sources() -> Sources:
    return Sources(packed(CLIENT), 5000, Counters())


def named(world: World, target: str, host: str, port: int = 443) -> Path:
    found = path(world)
    ends = Endpoints(packed(target), packed(CLIENT), port, 5000, UDP)
    made = Path(b"key", b"key", ("", 0), ends, found.carrier)
    made.host = host
    return made


def test_sources_are_bounded_and_the_oldest_is_forgotten() -> None:
    found = sources()
    ends = Endpoints(packed(TARGET), packed(CLIENT), 7, 5000, UDP)
    for number in range(MAX_SOURCES + 10):
        found.learn(b"%d" % number, ends)
    assert len(found.known) == MAX_SOURCES
    assert b"9" not in found.known
    assert b"10" in found.known


def test_one_name_for_each_port_waits_for_an_answer() -> None:
    with World() as world:
        found = sources()
        one = named(world, "198.18.0.1", "one")
        assert found.takes(443, "one", one.ends.source)
        found.expect(one)
        assert found.takes(443, "one", one.ends.source), "the same name again"
        assert not found.takes(443, "two", packed("198.18.0.2"))
        assert found.takes(444, "two", packed("198.18.0.2"))
        assert found.takes(443, "", packed(TARGET))
        header = FRAMING.header_for(packed("203.0.113.1"), 443)
        assert found._read(FRAMING.source_of(header), header) is one.ends
        assert found.takes(443, "two", packed("198.18.0.2"))


def test_name_that_is_written_to_again_waits_for_nothing() -> None:
    with World() as world:
        found = sources()
        one = named(world, "198.18.0.1", "one")
        found.expect(one)
        header = FRAMING.header_for(packed("203.0.113.1"), 443)
        found._read(FRAMING.source_of(header), header)
        found.expect(named(world, "198.18.0.1", "one"))
        assert found.takes(443, "two", packed("198.18.0.2"))


def test_proxy_that_answers_by_name_is_understood() -> None:
    with World() as world:
        found = sources()
        one = named(world, "198.18.0.1", "one")
        found.expect(one)
        header = FRAMING.header_for(b"", 443, "ONE")
        assert found._read(FRAMING.source_of(header), header) is one.ends


def test_quote_of_what_was_sent_tells_whom_it_was_for() -> None:
    found = sources()
    ends = Endpoints(packed(TARGET), packed(CLIENT), 7, 5000, UDP)
    header = FRAMING.header_for(packed(TARGET), 7)
    found.learn(header, ends)
    assert found.of_quote(FRAMING, header + b"payload") is ends
    assert found.payload_off == len(header)
    assert found.of_quote(FRAMING, header[:-1]) is None
    assert found.of_quote(FRAMING, b"") is None
