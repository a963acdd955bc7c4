"""Loss recovery costs nothing where nothing is lost and one batch is under way at a time."""

from tests.unit.tcp.builders import Script, established
from tunproxy.tcp.connection import recovery_of, send_room
from tunproxy.wire.tcp import ACK, FIN

MSS = 1000


def batches(count: int, **how: bool) -> Script:
    peer = Script(established(rcv_nxt=1, snd_nxt=0, mss=MSS, sack=True, **how))
    for number in range(count):
        peer.at(number * 100).queues(bytes(2 * MSS))
    return peer


def test_one_batch_at_a_time_needs_none() -> None:
    peer = batches(1)
    for number in range(1, 5):
        peer.at(number * 10_000).sends(payload=b"next").queues(bytes(3 * MSS))
    peer.at(50_000).sends().closes()
    peer.at(60_000).sends(flags=ACK | FIN)
    assert peer.conn.recovery is None


def test_second_batch_beside_the_first_needs_times() -> None:
    peer = batches(3)
    recovery = peer.conn.recovery
    assert recovery is not None
    peer.at(10_000).sends(ack=4000)
    assert recovery.rack.min_rtt == 9_900, "the second batch left 100 µs after the first"


def test_first_sack_block_finds_when_all_was_sent() -> None:
    peer = batches(1)
    peer.at(10_000).sends(ack=0, blocks=[(1000, 2000)])
    recovery = peer.conn.recovery
    assert recovery is not None
    assert recovery.rack.min_rtt == 10_000
    assert recovery.scoreboard.sacked == 1000


def test_state_is_made_once() -> None:
    conn = established(sack=True)
    assert recovery_of(conn) is recovery_of(conn)


def test_ranges_are_those_of_nothing_lost() -> None:
    peer = Script(established(snd_nxt=0, mss=MSS))
    peer.queues(bytes(3 * MSS))
    room = send_room(peer.conn)
    recovery = recovery_of(peer.conn)
    assert recovery.rtx_nxt == recovery.lost_until == peer.conn.snd_nxt
    assert not recovery.is_on
    assert send_room(peer.conn) == room


def test_end_of_a_connection_lets_go_of_it() -> None:
    peer = batches(3)
    peer.aborts()
    assert peer.conn.recovery is None
