"""Ways through a proxy: one for many targets, waiting, names, ends, refusals."""

import errno

import pytest

from tests.unit.datagram.relays import REFUSED, VIA_PROXY, Choosing, Proxied
from tests.unit.datagram.test_decisions import error_of
from tests.unit.datagram.world import SECOND
from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, packed
from tunproxy.datagram.kept import MOST_DATAGRAMS
from tunproxy.datagram.proxied import RETRY_AFTER
from tunproxy.flow.verdict import CONVERSE, DIAL, Verdict

families = pytest.mark.parametrize(("client", "target"), [(CLIENT, TARGET), (CLIENT6, TARGET6)])


def target_of(number: int) -> str:
    return f"198.51.{100 + number // 250}.{1 + number % 250}"


@families
def test_datagrams_go_behind_the_targets_header_and_answers_seem_the_targets(
    client: str, target: str
) -> None:
    with Proxied() as lab:
        sent = frames.udp(b"question", source=(client, 5000), target=(target, 53))
        lab.world.inbound(sent)
        assert lab.relay.receive() == (target, 53, b"question")
        lab.relay.answer(target, 53, b"answer")
        [packet] = lab.world.received()
        assert (packet.source, packet.source_port, packet.payload) == (target, 53, b"answer")
        assert (packet.destination, packet.destination_port) == (client, 5000)


def test_verdict_that_converses_opens_a_way_too() -> None:
    with Proxied(decider=Choosing(Verdict(CONVERSE, "socks", "192.0.2.1", 1080, object()))) as lab:
        lab.world.inbound(frames.udp(b"x", target=(TARGET, 7)))
        assert lab.relay.receive() == (TARGET, 7, b"x")


def test_all_targets_of_a_port_and_family_share_a_way() -> None:
    with Proxied() as lab:
        for number in range(200):
            lab.world.inbound(frames.udp(b"%d" % number, target=(target_of(number), 7)))
            assert lab.relay.receive() == (target_of(number), 7, b"%d" % number)
        for number in reversed(range(200)):
            lab.relay.answer(target_of(number), 7, b"%d" % number)
        packets = lab.world.received(200)
        assert {(packet.source, packet.payload) for packet in packets} == {
            (target_of(number), b"%d" % number) for number in range(200)
        }
        assert len(lab.ways.asked) == 1
        lab.world.inbound(frames.udp(b"x", source=(CLIENT, 5001), target=(TARGET, 7)))
        lab.world.inbound(frames.udp(b"x", source=(CLIENT6, 5000), target=(TARGET6, 7)))
        assert len(lab.ways.asked) == 3
        assert lab.world.table.statistics()["ways"] == 3


def test_two_upstreams_have_ways_of_their_own() -> None:
    with Proxied() as lab:
        lab.decider.others[9] = Verdict(CONVERSE, "other", "192.0.2.1", 1080, object())
        lab.decider.others[10] = Verdict(DIAL, "direct")
        peer = lab.world.peer()
        lab.decider.others[peer.port] = Verdict(DIAL, "direct")
        lab.world.inbound(frames.udp(b"a", target=(TARGET, 7)), frames.udp(b"b", target=(TARGET, 9)))
        lab.world.send(b"direct", to=peer)
        assert [lab.relay.receive()[2] for _ in range(2)] == [b"a", b"b"]
        assert peer.receive()[0] == b"direct"
        assert [verdict.upstream for _, verdict, _ in lab.ways.asked] == ["proxy", "other"]


def test_name_goes_to_the_proxy_and_its_address_answers_for_it() -> None:
    decider = Choosing()
    decider.hosts[packed("198.18.0.7")] = "www.example.com"
    with Proxied(decider=decider) as lab:
        lab.world.inbound(frames.udp(b"hello", target=("198.18.0.7", 443)))
        assert lab.relay.receive() == ("www.example.com", 443, b"hello")
        for _ in range(2):
            lab.relay.answer("203.0.113.80", 443, b"hi")
            [packet] = lab.world.received()
            assert (packet.source, packet.source_port, packet.payload) == ("198.18.0.7", 443, b"hi")
        lab.relay.answer("203.0.113.99", 5555, b"a peer")
        [packet] = lab.world.received()
        assert (packet.source, packet.source_port) == ("203.0.113.99", 5555)


def test_names_of_one_port_that_wait_for_an_answer_each_have_a_way() -> None:
    decider = Choosing()
    for number in range(3):
        decider.hosts[packed(f"198.18.0.{number}")] = f"n{number}.example"
    with Proxied(decider=decider) as lab:
        clients = []
        for number in range(2):
            lab.world.inbound(frames.udp(b"hello", target=(f"198.18.0.{number}", 443)))
            lab.relay.receive()
            clients.append(lab.relay.client)
        assert len(set(clients)) == 2
        for number, client in enumerate(clients):
            lab.relay.answer(f"203.0.113.{number}", 443, b"%d" % number, to=client)
        packets = lab.world.received(2)
        assert {(p.source, p.payload) for p in packets} == {("198.18.0.0", b"0"), ("198.18.0.1", b"1")}
        lab.world.inbound(frames.udp(b"hello", target=("198.18.0.2", 443)))
        lab.relay.receive()
        assert lab.relay.client == clients[0], "who has been answered is in nobody's way"
        lab.relay.answer("203.0.113.2", 443, b"2")
        lab.relay.answer("203.0.113.0", 443, b"0")
        assert {(p.source, p.payload) for p in lab.world.received(2)} == {
            ("198.18.0.2", b"2"),
            ("198.18.0.0", b"0"),
        }


# before the way is open


def test_datagrams_that_come_early_wait_in_order() -> None:
    with Proxied(at_once=False) as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        lab.world.inbound(frames.udp(b"2", target=("198.51.100.8", 7)))
        lab.world.inbound(frames.udp_super(b"33334444", 4, target=(TARGET, 7)))
        assert lab.relay.is_idle()
        assert len(lab.ways.asked) == 1
        lab.ways.grant()
        assert [lab.relay.receive()[2] for _ in range(4)] == [b"1", b"2", b"3333", b"4444"]
        lab.world.inbound(frames.udp(b"5", target=(TARGET, 7)))
        assert lab.relay.receive()[2] == b"5"


def test_no_more_wait_than_there_is_room_for() -> None:
    with Proxied(at_once=False) as lab:
        for number in range(MOST_DATAGRAMS + 5):
            lab.world.inbound(frames.udp(b"%d" % number, target=(TARGET, 7)))
        assert lab.world.drops() == {"waiting_full": 5}
        lab.ways.grant()
        assert [lab.relay.receive()[2] for _ in range(MOST_DATAGRAMS)] == [
            b"%d" % number for number in range(MOST_DATAGRAMS)
        ]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errno.ECONNREFUSED, (3, 3)),
        (errno.EHOSTUNREACH, (3, 1)),
        (errno.ENETUNREACH, (3, 0)),
        (errno.ETIMEDOUT, None),
    ],
)
def test_way_that_cannot_be_opened_refuses_by_its_errno(error: int, told: tuple[int, int] | None) -> None:
    with Proxied(at_once=False) as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)), frames.udp(b"2", target=(TARGET, 9)))
        lab.ways.asked[0][2].failed(error)
        lab.world.settle()
        answers = [error_of(frame)[:2] for frame in lab.world.sink.frames]
        assert answers == ([told] * 2 if told else [])
        assert lab.world.drops() == {"rejected": 2}


def test_failure_is_remembered_for_a_moment() -> None:
    with Proxied(error=REFUSED) as lab:
        for _ in range(5):
            lab.world.inbound(frames.udp(b"x", target=(TARGET, 7)))
        assert len(lab.ways.asked) == 1
        assert [error_of(frame)[:2] for frame in lab.world.outbound(5)] == [(3, 3)] * 5
        assert lab.world.drops() == {"rejected": 5}
        lab.world.pass_time(RETRY_AFTER / SECOND + 0.2)
        lab.ways.error = 0
        lab.world.inbound(frames.udp(b"x", target=(TARGET, 7)))
        assert lab.relay.receive()[2] == b"x"


# the end


def test_way_that_ends_is_opened_again_by_the_next_datagram() -> None:
    with Proxied() as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)), frames.udp(b"2", target=(TARGET, 9)))
        assert [lab.relay.receive()[2] for _ in range(2)] == [b"1", b"2"]
        lab.ways.end()
        assert lab.world.table.statistics() == {"associations": 0, "ways": 0, "paths": 0, "echo_sessions": 0}
        assert lab.ways.closed == []
        lab.world.inbound(frames.udp(b"3", target=(TARGET, 7)))
        assert lab.relay.receive()[2] == b"3"
        assert len(lab.ways.asked) == 2
        assert lab.decider.asked == 3


def test_idle_way_is_closed_and_use_keeps_it() -> None:
    with Proxied() as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        for _ in range(3):
            lab.world.pass_time(200)
            lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        assert len(lab.ways.asked) == 1
        lab.world.pass_time(301)
        assert lab.world.table.statistics()["ways"] == 0
        assert len(lab.ways.closed) == 1


def test_way_weighs_two_descriptors_and_the_idlest_gives_way() -> None:
    with Proxied(max_associations=6) as lab:
        for port in range(5000, 5004):
            lab.world.now += 1000
            lab.world.inbound(frames.udp(b"x", source=(CLIENT, port), target=(TARGET, 7)))
        assert lab.world.table.statistics()["ways"] == 3
        assert lab.ways.closed == [lab.ways.asked[0][2]]
        assert lab.world.counters.associations_evicted == 1


def test_way_that_gives_way_while_it_opens_stops_opening() -> None:
    with Proxied(max_associations=2, at_once=False) as lab:
        lab.world.inbound(frames.udp(b"1", source=(CLIENT, 1), target=(TARGET, 7)))
        lab.world.inbound(frames.udp(b"2", source=(CLIENT, 2), target=(TARGET, 7)))
        assert lab.ways.closed == [lab.ways.asked[0][2]]
        assert lab.world.drops() == {"table_full": 1}
        lab.ways.grant()
        assert lab.relay.receive()[2] == b"2"


def test_upstream_that_everybody_goes_through_is_asked_for_once_a_path() -> None:
    with Proxied() as lab:
        for _ in range(10):
            lab.world.inbound(frames.udp(b"x", target=(TARGET, 7)))
        assert lab.decider.asked == 1
        assert lab.decider.verdict is VIA_PROXY


def test_way_whose_address_is_gone_is_closed_and_the_next_datagram_opens_another() -> None:
    with Proxied() as lab:
        lab.world.inbound(frames.udp(b"a", target=(TARGET, 7)))
        assert lab.relay.receive()[2] == b"a"
        assert lab.world.table.cut_off(lambda _: True) == 0
        assert lab.world.table.statistics()["ways"] == 1
        assert lab.world.table.cut_off(lambda _: False) == 1
        assert lab.world.table.statistics()["ways"] == 0
        lab.world.inbound(frames.udp(b"b", target=(TARGET, 7)))
        assert lab.relay.receive()[2] == b"b"
        assert len(lab.ways.asked) == 2


def test_association_that_is_bound_to_no_address_stays() -> None:
    with Proxied() as lab:
        peer = lab.world.peer()
        lab.decider.others[peer.port] = Verdict(DIAL, "direct")
        lab.world.send(b"direct", to=peer)
        assert peer.receive()[0] == b"direct"
        assert lab.world.table.cut_off(lambda _: False) == 0
        assert len(lab.world.table) == 1
