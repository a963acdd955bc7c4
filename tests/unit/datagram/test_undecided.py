"""Pairs that are not decided about at once: names in first datagrams, and things that somebody finds out."""

import errno
from collections.abc import Callable

import pytest

from tests.unit.datagram.relays import VIA_PROXY, Choosing, Proxied
from tests.unit.datagram.test_decisions import error_of
from tests.unit.datagram.world import LOOPBACK, SECOND
from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, TARGET, packed
from tunproxy.datagram.kept import MOST_DATAGRAMS
from tunproxy.datagram.undecided import HEARING
from tunproxy.flow.verdict import CONVERSE, DIAL, DROP, OPEN, REJECT, SNIFF, Verdict

LISTEN = Verdict(SNIFF, "undecided")
LATER = Verdict(OPEN, "undecided", opener=object())


def hearing(*answers: Verdict | None) -> Choosing:
    decider = Choosing(LISTEN)
    decider.answers = list(answers)
    return decider


def statistics(lab: Proxied) -> tuple[int, int]:
    """Return how many pairs are undecided, and how many paths there are."""
    return len(lab.world.table._context.undecided), len(lab.world.table._context.paths)


def test_each_datagram_is_shown_until_one_tells_and_all_go_there_in_order() -> None:
    decider = hearing(None, None, VIA_PROXY)
    with Proxied(decider=decider) as lab:
        for payload in (b"1", b"2"):
            lab.world.inbound(frames.udp(payload, target=(TARGET, 443)))
        assert lab.relay.is_idle()
        lab.world.inbound(*(frames.udp(payload, target=(TARGET, 443)) for payload in (b"3", b"44", b"5")))
        assert [lab.relay.receive()[2] for _ in range(5)] == [b"1", b"2", b"3", b"44", b"5"]
        assert decider.sniffed == [b"1", b"2", b"3"]
        assert statistics(lab) == (0, 1)


def test_client_is_not_waited_for_longer_than_30_ms() -> None:
    decider = hearing(None, VIA_PROXY)
    with Proxied(decider=decider) as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 443)))
        lab.world.pass_time(HEARING / SECOND - 0.001)
        assert lab.relay.is_idle()
        lab.world.pass_time(0.002)
        assert lab.relay.receive()[2] == b"1"
        assert decider.sniffed == [b"1", b""]
        lab.world.pass_time(1)
        assert decider.sniffed == [b"1", b""]


def test_pieces_of_a_super_packet_are_shown_one_by_one() -> None:
    decider = hearing(None, VIA_PROXY)
    with Proxied(decider=decider) as lab:
        lab.world.inbound(frames.udp_super(b"aaabbbcc", 3, target=(TARGET, 443)))
        assert [lab.relay.receive()[2] for _ in range(3)] == [b"aaa", b"bbb", b"cc"]
        assert decider.sniffed == [b"aaa", b"bbb"]


def test_empty_datagram_tells_nothing_and_nothing_more_is_awaited() -> None:
    decider = hearing(VIA_PROXY)
    with Proxied(decider=decider) as lab:
        lab.world.inbound(frames.udp(b"", target=(TARGET, 443)))
        assert lab.relay.receive()[2] == b""
        assert decider.sniffed == [b""]


def test_no_more_is_heard_than_can_be_kept() -> None:
    decider = hearing(*[None] * (MOST_DATAGRAMS + 1), VIA_PROXY)
    with Proxied(decider=decider) as lab:
        for number in range(MOST_DATAGRAMS + 1):
            lab.world.inbound(frames.udp(b"%d" % number, target=(TARGET, 443)))
        assert [lab.relay.receive()[2] for _ in range(MOST_DATAGRAMS)] == [
            b"%d" % number for number in range(MOST_DATAGRAMS)
        ]
        assert decider.sniffed[-1] == b""
        assert lab.world.drops() == {"waiting_full": 1}


def test_sniffed_flow_may_go_to_its_own_target() -> None:
    decider = hearing(None, Verdict(DIAL, "direct"))
    with Proxied(decider=decider) as lab:
        peer = lab.world.peer()
        lab.world.send(b"1", b"2", to=peer)
        assert [peer.receive()[0] for _ in range(2)] == [b"1", b"2"]
        assert lab.world.table.statistics()["associations"] == 1


@pytest.mark.parametrize(("kind", "told"), [(REJECT, [(3, 3)] * 2), (DROP, [])])
def test_sniffed_flow_may_be_refused_which_is_remembered(kind: int, told: list[tuple[int, int]]) -> None:
    decider = hearing(None, Verdict(kind, "no"))
    with Proxied(decider=decider) as lab:
        for payload in (b"1", b"2", b"3"):
            lab.world.inbound(frames.udp(payload, target=(TARGET, 443)))
        lab.world.settle()
        expected = [*told, told[0]] if told else []
        assert [error_of(frame)[:2] for frame in lab.world.sink.frames] == expected
        assert lab.world.drops() == {"rejected": 3}
        assert decider.asked == 1


def test_decider_that_cannot_make_up_its_mind_refuses() -> None:
    with Proxied(decider=hearing(None, None)) as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 443)))
        lab.world.pass_time(1)
        assert error_of(lab.world.outbound()[0])[:2] == (3, 3)
    with Proxied(decider=hearing(LISTEN)) as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 443)))
        assert error_of(lab.world.outbound()[0])[:2] == (3, 3)


# what somebody finds out


def waiting(**options: int) -> Proxied:
    lab = Proxied(decider=Choosing(LATER), **options)  # type: ignore[arg-type]
    lab.ways.deferred.append(LATER.opener)
    lab.ways.at_once = False
    return lab


def test_flows_that_wait_for_one_opener_are_decided_one_by_one() -> None:
    with waiting() as lab:
        peer = lab.world.peer()
        for target in ((TARGET, 9), (TARGET, peer.port), ("198.51.100.8", 9)):
            lab.world.inbound(frames.udp(b"1", target=target), frames.udp(b"2", target=target))
        assert statistics(lab) == (3, 3)
        assert [int(info.target_port) for info, _, _ in lab.ways.asked] == [9, peer.port, 9]
        lab.ways.asked[1][2].decided(Verdict(DIAL, "direct"))
        assert [peer.receive()[0] for _ in range(2)] == [b"1", b"2"]
        lab.ways.at_once = True
        for number in (0, 2):
            lab.ways.asked[number][2].decided(VIA_PROXY)
        assert [lab.relay.receive() for _ in range(4)] == [
            (TARGET, 9, b"1"), (TARGET, 9, b"2"), ("198.51.100.8", 9, b"1"), ("198.51.100.8", 9, b"2"),
        ]  # fmt: skip
        assert lab.world.table.statistics()["ways"] == 1, "both go the same way"
        assert statistics(lab) == (0, 3)


def test_name_that_was_resolved_meanwhile_is_dialled_and_seems_the_fake_address() -> None:
    lab = waiting()
    lab.decider.hosts[packed("198.18.0.7")] = "www.example.com"
    with lab:
        peer = lab.world.peer("198.51.100.8")
        lab.world.inbound(frames.udp(b"1", target=("198.18.0.7", 443)))
        lab.ways.asked[0][2].decided(Verdict(DIAL, "direct", LOOPBACK["198.51.100.8"], peer.port))
        _, address = peer.receive()
        peer.sock.sendto(b"2", address)
        [packet] = lab.world.received()
        assert (packet.source, packet.source_port) == ("198.18.0.7", 443)


@pytest.mark.parametrize(
    ("error", "told"), [(errno.ECONNREFUSED, (3, 3)), (errno.EHOSTUNREACH, (3, 1)), (errno.ETIMEDOUT, None)]
)
def test_flow_that_nobody_lets_go_is_refused_by_errno(error: int, told: tuple[int, int] | None) -> None:
    with waiting() as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 9)))
        lab.ways.asked[0][2].failed(error)
        lab.world.settle()
        assert [error_of(frame)[:2] for frame in lab.world.sink.frames] == ([told] if told else [])
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 9)))
        assert len(lab.ways.asked) == (2 if error == errno.EHOSTUNREACH else 1), (
            "what may pass is tried again"
        )


def test_answer_at_once_is_as_good() -> None:
    with waiting() as lab:
        lab.ways.at_once = True
        lab.ways.decides = Verdict(CONVERSE, "proxy", "192.0.2.1", 1080, object())
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 9)))
        assert lab.relay.receive()[2] == b"1"
        lab.ways.decides = Verdict(REJECT, "no")
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 10)))
        assert error_of(lab.world.outbound()[0])[:2] == (3, 3)


def test_who_waits_is_bounded_and_closed_with_the_table() -> None:
    with waiting(max_associations=3) as lab:
        for port in range(5):
            lab.world.inbound(frames.udp(b"1", source=(CLIENT, 5000 + port), target=(TARGET, 9)))
        assert statistics(lab) == (3, 3)
        assert lab.ways.closed == [request for _, _, request in lab.ways.asked[:2]]
        assert lab.world.drops() == {"table_full": 2}
        late: Callable[[Verdict], None] = lab.ways.asked[4][2].decided
    late(VIA_PROXY)
    assert statistics(lab) == (0, 0)
    assert len(lab.ways.closed) == 5
