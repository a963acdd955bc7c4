"""What is sent again, and in which pieces; when it is lost is ``test_recovery``'s."""

import pytest

from tests.unit.tcp.builders import Script, established
from tunproxy.tcp.connection import recovery_of
from tunproxy.tcp.retransmit import is_repaired, room
from tunproxy.wire.tcp import ACK, FIN

MSS = 1000


def sending(segments: int, *, sack: bool = True, cwnd: int = 1 << 30, tso: bool = False) -> Script:
    peer = Script(established(rcv_nxt=1, snd_nxt=0, mss=MSS, sack=sack, cwnd=cwnd, tso=tso))
    peer.at(0).queues(bytes(segments * MSS))
    peer.sent()
    return peer


def test_room_is_what_the_window_leaves() -> None:
    peer = sending(7, cwnd=10_000)
    assert room(peer.conn) == 3000


def test_room_in_recovery_is_that_of_rate_reduction() -> None:
    """RFC 6937: cwnd alone would let seven segments out."""
    peer = sending(20, cwnd=20_000)
    peer.sends(ack=0, blocks=[(1000, 5000)], settle=False)
    recovery = recovery_of(peer.conn)
    assert room(peer.conn) == recovery.prr.room == 2800


@pytest.mark.parametrize("sack", [False, True])
def test_everything_lost_is_sent_again_once(sack: bool) -> None:
    peer = sending(10, sack=sack)
    while peer.conn.timeouts == 0:
        peer.sent()
        peer.waits()
    recovery = recovery_of(peer.conn)
    assert not is_repaired(recovery)
    found = [sent.seq for sent in peer.sent()]
    for seq in range(MSS, 11 * MSS, MSS):
        peer.sends(ack=seq)
        found += [sent.seq for sent in peer.sent()]
    assert found == list(range(0, 10 * MSS, MSS))
    assert is_repaired(recovery)


def test_first_segment_is_sent_again_though_there_is_no_room() -> None:
    """RFC 6675 §5 step 4.3."""
    peer = sending(4)
    peer.sends(ack=0, blocks=[(1000, 4000)], settle=False)
    recovery_of(peer.conn).prr.room = 0
    peer.settles()
    peer.expects(seq=0, payload=bytes(MSS))


def test_fin_alone_is_sent_again_without_data() -> None:
    peer = Script(established(rcv_nxt=1, snd_nxt=0, mss=MSS, sack=True))
    peer.at(0).closes()
    peer.sent()
    peer.waits()
    peer.expects(seq=0, payload=b"", flags=ACK | FIN)


def test_what_was_sent_again_is_counted() -> None:
    peer = sending(10)
    peer.sends(ack=0, blocks=[(1000, 10_000)])
    assert peer.conn.retransmits == 1
    assert recovery_of(peer.conn).undo_octets == MSS
