"""What a report of a packet too big changes, and which reports change nothing."""

from collections.abc import Callable

import pytest

from tests.unit.tcp.builders import (
    Script,
    close_wait,
    closed,
    established,
    fin_wait_1,
    fin_wait_2,
    last_ack,
    syn_received,
    time_wait,
)
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.tcp.connection import Connection
from tunproxy.tcp.path_mtu import MIN_MTU, MIN_MTU_V6, on_packet_too_big

HEADERS = {False: 40, True: 60}


def sending(size: int = 10_000, **how: object) -> Script:
    """Return the peer of a connection with so much under way from 5000 on."""
    peer = Script(established(snd_nxt=5000, **how))
    peer.queues(bytes(size))
    peer.sent()
    return peer


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("ts", [False, True])
def test_reported_mtu_is_what_packets_have_from_now_on(ipv6: bool, ts: bool) -> None:
    """RFC 9293 §3.7.5, RFC 8201 §4: all of it goes again, in pieces that fit."""
    peer = sending(ipv6=ipv6, ts=ts)
    assert on_packet_too_big(peer.conn, 1300, 5000)
    peer.settles()
    mss = 1300 - HEADERS[ipv6] - (12 if ts else 0)
    found = peer.sent()
    assert [sent.length for sent in found] == [mss] * (10_000 // mss) + [10_000 % mss]
    assert found[0].seq == 5000
    peer.sends()
    peer.queues(bytes(2 * mss))
    assert [sent.length for sent in peer.sent()] == [mss] * 2


def test_super_packets_are_cut_smaller() -> None:
    peer = sending(50_000, tso=True)
    assert on_packet_too_big(peer.conn, 1000, 5000 + 3 * 1460)
    peer.settles()
    found = peer.sent()
    assert {sent.gso_size for sent in found} == {960}
    assert sum(sent.length for sent in found) == 50_000
    assert peer.conn.snd_burst % 960 == 0


def test_what_arrived_is_not_sent_again() -> None:
    peer = sending(1460 * 4, sack=True)
    peer.sends(ack=5000, blocks=[(5000 + 1460, 5000 + 2920)])
    peer.sent()
    assert on_packet_too_big(peer.conn, 1300, 5000)
    peer.settles()
    found = peer.sent()
    assert all(not 6460 <= sent.seq < 7920 for sent in found)
    assert sum(sent.length for sent in found) == 3 * 1460


def test_window_of_congestion_stays() -> None:
    """RFC 1191 §6.4: it says nothing of congestion."""
    peer = sending()
    assert on_packet_too_big(peer.conn, 1300, 5000)
    assert peer.conn.congestion.cwnd == UNTHROTTLED
    assert peer.conn.congestion.mss == 1260


def test_transfer_goes_on_after_the_report() -> None:
    peer = sending(10_000)
    on_packet_too_big(peer.conn, 1300, 5000)
    peer.settles()
    peer.sent()
    peer.sends(ack=5000 + 2 * 1260)
    peer.sends(ack=15_000).expects_nothing_more()
    assert peer.conn.buffer.length == 0
    assert peer.deadline is None


@pytest.mark.parametrize("seq", [4999, 15_000, 5000 + 2**31, 0])
def test_report_about_nothing_under_way_is_ignored(seq: int) -> None:
    """RFC 5927 §4.1: whoever does not see our numbers cannot slow us down."""
    peer = sending()
    assert not on_packet_too_big(peer.conn, 1300, seq)
    assert peer.conn.snd_mss == 1460
    peer.settles().expects_nothing_more()


@pytest.mark.parametrize("mtu", [1500, 1501, 65535])
def test_report_that_asks_for_no_less_is_ignored(mtu: int) -> None:
    peer = sending()
    assert not on_packet_too_big(peer.conn, mtu, 5000)
    assert peer.conn.snd_mss == 1460


def test_report_again_changes_nothing_more() -> None:
    peer = sending()
    assert on_packet_too_big(peer.conn, 1300, 5000)
    peer.settles().sent()
    assert not on_packet_too_big(peer.conn, 1300, 5000)
    peer.settles().expects_nothing_more()


@pytest.mark.parametrize(
    ("ipv6", "mtu", "least"),
    [(False, 1, MIN_MTU), (False, 68, MIN_MTU), (True, 0, MIN_MTU_V6), (True, 68, MIN_MTU_V6)],
)
def test_report_of_an_absurd_mtu_goes_no_lower_than_links_do(ipv6: bool, mtu: int, least: int) -> None:
    """RFC 8201 §4, RFC 1191 §3."""
    peer = sending(ipv6=ipv6)
    assert on_packet_too_big(peer.conn, mtu, 5000)
    assert peer.conn.snd_mss == least - HEADERS[ipv6]


def test_report_without_an_mtu_tries_the_next_plateau() -> None:
    """RFC 1191 §5, §7."""
    peer = sending()
    found = []
    while on_packet_too_big(peer.conn, 0, 5000):
        found.append(peer.conn.snd_mss + 40)
    assert found == [1492, 1006, 508, 296]


@pytest.mark.parametrize("build", [syn_received, closed, fin_wait_2, time_wait])
def test_report_where_no_data_goes_out_is_ignored(build: Callable[..., Connection]) -> None:
    conn = build()
    before = conn.snd_mss
    assert not on_packet_too_big(conn, 600, conn.snd_una)
    assert conn.snd_mss == before


@pytest.mark.parametrize("build", [close_wait, fin_wait_1, last_ack])
def test_fin_goes_again_with_the_data_before_it(build: Callable[..., Connection]) -> None:
    peer = Script(established(snd_nxt=5000) if build is fin_wait_1 else close_wait(snd_nxt=5000))
    peer.queues(bytes(3000))
    if build is not close_wait:
        peer.closes()
    peer.sent()
    assert on_packet_too_big(peer.conn, 1300, 5000)
    peer.settles()
    found = peer.sent()
    assert sum(sent.length for sent in found) == 3000
    assert bool(found[-1].flags & 1) == (build is not close_wait)
