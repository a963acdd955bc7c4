"""What arrived twice is reported, once, and never what did not arrive (RFC 2883)."""

import pytest

from tests.unit.tcp.builders import TS_SENT, Script, established
from tunproxy.tcp.assembler import MAX_PIECES
from tunproxy.wire.tcp import ACK, FIN


def test_segment_that_came_twice_is_reported_once() -> None:
    """§4.1.1: below the acknowledgment number."""
    peer = Script(established(rcv_nxt=1000, sack=True))
    peer.sends(payload=b"abcd")
    peer.sends(seq=1000, payload=b"abcd")
    peer.expects(ack=1004, blocks=[(1000, 1004)])
    peer.sends(seq=999)
    peer.expects(ack=1004, blocks=[])
    peer.expects_nothing_more()


def test_duplicate_comes_before_what_is_kept() -> None:
    """§4.1.1, with a gap: three blocks at most, so that timestamps fit."""
    peer = Script(established(rcv_nxt=1000, sack=True, ts=True))
    peer.sends(payload=b"abcd")
    for n in range(5):
        peer.sends(seq=1100 + 100 * n, payload=b"x")
    peer.sent()
    peer.sends(seq=1000, payload=b"abcd", ts=(TS_SENT, 0))
    peer.expects(ack=1004, blocks=[(1000, 1004), (1500, 1501), (1400, 1401)])


def test_segment_that_waits_already_is_reported_with_what_it_is_part_of() -> None:
    """§4.1.2: the second block says that the first is no news."""
    peer = Script(established(rcv_nxt=1000, sack=True))
    peer.sends(seq=1500, payload=b"e" * 100).sends(seq=1600, payload=b"f" * 100)
    peer.sends(seq=1800, payload=b"h" * 100)
    peer.sent()
    peer.sends(seq=1600, payload=b"f" * 100)
    peer.expects(ack=1000, blocks=[(1600, 1700), (1500, 1700), (1800, 1900)])
    peer.sends(seq=2000, payload=b"j")
    assert peer.sent()[0].blocks[0] == (2000, 2001), "reported once"


def test_segment_that_there_is_no_room_for_is_no_duplicate() -> None:
    """It would be taken for one that arrived, and never be sent again."""
    peer = Script(established(rcv_nxt=1000, sack=True))
    for n in range(MAX_PIECES):
        peer.sends(seq=2000 + 2 * n, payload=b"x")
    peer.sent()
    lost = 2000 + 2 * MAX_PIECES
    peer.sends(seq=lost, payload=b"x")
    (sent,) = peer.sent()
    assert all(not left <= lost < right for left, right in sent.blocks)


def test_segment_with_some_new_octets_is_reported_as_new() -> None:
    peer = Script(established(rcv_nxt=1000, sack=True))
    peer.sends(payload=b"abcd")
    peer.sends(seq=1002, payload=b"cdef")
    assert peer.delivered == b"abcdef"
    peer.waits()
    peer.expects(ack=1006, blocks=[])


def test_fin_that_came_twice_is_reported_for_its_data() -> None:
    peer = Script(established(rcv_nxt=1000, sack=True))
    peer.sends(payload=b"abcd", flags=ACK | FIN)
    peer.sends(seq=1000, payload=b"abcd", flags=ACK | FIN)
    peer.expects(ack=1005, blocks=[(1000, 1004)])


@pytest.mark.parametrize("seq", [999, 1000 + 2**20 + 5])
def test_keepalive_and_data_beyond_the_window_are_no_duplicates(seq: int) -> None:
    peer = Script(established(rcv_nxt=1000, sack=True))
    peer.sends(seq=seq, payload=b"" if seq < 1000 else b"far")
    peer.expects(ack=1000, blocks=[])


def test_old_duplicate_from_before_a_wrap_is_not_reported() -> None:
    """RFC 7323 §5.3: its numbers mean something else now."""
    peer = Script(established(rcv_nxt=1000, sack=True, ts=True))
    peer.sends(payload=b"abcd", ts=(TS_SENT + 5, 0))
    peer.sends(seq=1000, payload=b"abcd", ts=(TS_SENT, 0))
    peer.expects(ack=1004, blocks=[])


def test_peer_without_sack_hears_nothing_of_it() -> None:
    peer = Script(established(rcv_nxt=1000))
    peer.sends(payload=b"abcd").sends(seq=1000, payload=b"abcd")
    peer.expects(ack=1004, blocks=[])
