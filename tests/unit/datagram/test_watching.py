"""What a watcher is told of UDP flows and pings."""

import errno

from tests.isolation import isolated, needs_namespaces
from tests.unit.datagram.relays import Choosing, Proxied
from tests.unit.datagram.test_decisions import Deciding
from tests.unit.datagram.test_echo import allow
from tests.unit.datagram.world import SECOND, World
from tests.unit.flow.test_watching import Watcher
from tests.unit.wire import frames
from tunproxy.datagram.watching import refusal
from tunproxy.flow.verdict import DIAL, DROP, REJECT, FlowInfo, Verdict

REFUSED = Verdict(REJECT, "rules", why="rule 3")


def test_flow_is_a_port_and_a_target_and_ends_when_it_is_idle() -> None:
    watcher = Watcher()
    with World(watcher=watcher) as world:
        one, other = world.peer(), world.peer()
        world.send(b"hello", b"again", to=one)
        world.send(b"x", to=other)
        first, second = world.table.lives()
        assert watcher.open == [first, second]
        assert (first.number, first.info.target_port, first.up) == (1, one.port, 10)
        assert (second.number, second.info.target_port, second.up) == (2, other.port, 1)
        _, address = one.receive()
        one.sock.sendto(b"answer", address)
        world.outbound()
        assert (first.down, second.down) == (6, 0)
        assert watcher.over == []
        world.pass_time(400)
        assert world.table.lives() == []
        assert sorted(life.number for life in watcher.over) == [1, 2]
        assert {life.reason for life in watcher.over} == {"closed: idle"}


def test_flow_that_is_open_at_the_end_says_so() -> None:
    watcher = Watcher()
    with World(watcher=watcher) as world:
        world.send(b"hello", to=world.peer())
    assert [life.reason for life in watcher.over] == ["cut: tunproxy has ended"]


def test_refused_flow_is_told_once_and_again_when_it_is_decided_again() -> None:
    watcher = Watcher()
    peer_port = 5
    decider = Deciding(port5=REFUSED)
    with World(watcher=watcher, decider=decider) as world:
        for _ in range(3):
            world.inbound(frames.udp(b"x", target=("198.51.100.7", peer_port)))
        (life,) = watcher.over
        assert (life.reason, life.verdict, watcher.open) == ("refused", REFUSED, [])
        world.now += 11 * SECOND
        world.inbound(frames.udp(b"x", target=("198.51.100.7", peer_port)))
        assert [life.number for life in watcher.over] == [1, 2]


def test_nobody_watches() -> None:
    with World() as world:
        world.send(b"hello", to=world.peer())
        assert world.table.lives() == []


def test_reasons_of_refusals() -> None:
    assert refusal(Verdict(DROP, "drop"), 0) == "dropped"
    assert refusal(Verdict(REJECT, "reject"), errno.ECONNREFUSED) == "refused"
    assert refusal(Verdict(DIAL, "direct"), errno.EHOSTUNREACH) == "not reached: no route to host"


def test_flow_through_a_proxy_opens_with_its_way_and_is_counted() -> None:
    watcher = Watcher()
    with Proxied(at_once=False, watcher=watcher) as made:
        made.world.inbound(frames.udp(b"hello", target=("198.51.100.7", 443)))
        (life,) = made.world.table.lives()
        assert (watcher.open, life.up) == ([], 5)
        made.ways.grant()
        assert watcher.open == [life]
        host, port, payload = made.relay.receive()
        assert payload == b"hello"
        made.relay.answer(host, port, b"answer")
        made.world.outbound()
        assert life.down == 6
        made.ways.end()
        assert [each.number for each in watcher.over] == [1]


def test_way_that_cannot_be_opened_is_told_with_the_attempts() -> None:
    watcher = Watcher()
    with Proxied(at_once=False, watcher=watcher) as made:
        for port in (443, 444):
            made.world.inbound(frames.udp(b"hello", target=("198.51.100.7", port)))
        ((_, _, request),) = made.ways.asked
        request.tried("192.0.2.1:1080", 12, "")
        request.tried("work", 30, "the proxy does not know the command")
        request.failed(errno.ECONNREFUSED)
        assert [life.reason for life in watcher.over] == ["not reached: connection refused"] * 2
        for life in watcher.over:
            assert life.attempts() == [
                ("192.0.2.1:1080", 12, ""),
                ("work", 30, "the proxy does not know the command"),
            ]


def test_undecided_flow_has_one_life() -> None:
    watcher = Watcher()
    decider = Choosing(Verdict(5, "undecided"))
    decider.answers.append(REFUSED)
    with World(decider=decider, watcher=watcher) as world:
        world.inbound(frames.udp(b"x", target=("198.51.100.7", 443)))
        (life,) = watcher.over
        assert (life.number, life.reason, life.verdict) == (1, "refused", REFUSED)


@needs_namespaces
def test_ping_is_a_flow() -> None:
    isolated(_ping)


def _ping() -> None:
    allow()
    watcher = Watcher()
    with World(watcher=watcher) as world:
        for sequence in (1, 2):
            world.inbound(frames.echo_request(b"payload", identifier=7, sequence=sequence))
            world.outbound()
        (life,) = world.table.lives()
        assert (life.info.protocol, life.up, life.down, watcher.open) == ("icmp", 14, 14, [life])
        world.pass_time(60)
        assert [each.reason for each in watcher.over] == ["closed: idle"]


def test_ping_that_is_refused_is_told_once() -> None:
    watcher = Watcher()

    class Never(Deciding):
        def decide(self, info: FlowInfo) -> Verdict:
            return REFUSED

    with World(watcher=watcher, decider=Never()) as world:
        for sequence in (1, 2):
            world.inbound(frames.echo_request(b"payload", identifier=7, sequence=sequence))
        assert [(life.info.protocol, life.reason) for life in watcher.over] == [("icmp", "refused")]


def test_flow_is_closed_by_hand_and_the_next_datagram_begins_another() -> None:
    watcher = Watcher()
    with World(watcher=watcher) as world:
        one, other = world.peer(), world.peer()
        world.send(b"hello", to=one)
        world.send(b"x", to=other)
        assert world.table.end(frozenset({1})) == 1
        assert [(life.number, life.reason) for life in watcher.over] == [(1, "cut: closed by hand")]
        assert [life.number for life in world.table.lives()] == [2]
        world.send(b"again", to=one)
        assert one.receive()[0] == b"hello"
        assert one.receive()[0] == b"again"
        assert sorted(int(life.number) for life in world.table.lives()) == [2, 3]
        assert world.table.end(None) == 2
        assert (world.table.lives(), len(world.table)) == ([], 0)
        world.send(b"once more", to=other)
        assert world.table.statistics()["associations"] == 1


@needs_namespaces
def test_ping_is_closed_by_hand() -> None:
    isolated(_ping_closed)


def _ping_closed() -> None:
    allow()
    watcher = Watcher()
    with World(watcher=watcher) as world:
        world.inbound(frames.echo_request(b"payload", identifier=7, sequence=1))
        assert world.table.end(frozenset({2})) == 0
        assert world.table.end(frozenset({1})) == 1
        assert [each.reason for each in watcher.over] == ["cut: closed by hand"]
        assert world.table.statistics()["echo_sessions"] == 0
