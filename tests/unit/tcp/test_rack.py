"""What is under way, when it was sent, and what that says of loss (RFC 8985 §6)."""

import random

from tunproxy.tcp.rack import MAX_RUNS, REO_WND_MIN, REO_WND_PERSIST, Rack
from tunproxy.tcp.scoreboard import Scoreboard

MS = 1000


def lost(rack: Rack) -> list[tuple[int, int]]:
    assert rack.lost_octets == sum(run.end - run.seq for run in rack.lost)
    return [(run.seq, run.end) for run in rack.lost]


def sack(rack: Rack, left: int, right: int, now: int) -> None:
    rack.sacked(left, right, right - left, now)
    rack.acknowledged()


def test_what_was_sent_before_what_arrived_is_lost_when_it_is_late() -> None:
    rack = Rack(0)
    rack.sent(0, 1000, 0)
    rack.sent(1000, 2000, 1 * MS)
    rack.sent(2000, 3000, 2 * MS)
    assert not rack.has_gap()
    sack(rack, 1000, 2000, 11 * MS)
    assert rack.has_gap()
    assert rack.detect(11 * MS, 2 * MS) == 12 * MS, "sent at 0, round trip 10 ms, window 2 ms"
    assert lost(rack) == []
    assert rack.detect(12 * MS, 2 * MS) == -1
    assert lost(rack) == [(0, 1000)]


def test_what_left_at_one_time_is_one_run_and_its_parts_keep_their_order() -> None:
    rack = Rack(0)
    rack.sent(0, 64_000, 0)
    rack.sent(64_000, 128_000, 0)
    sack(rack, 10_000, 20_000, 10 * MS)
    assert rack.detect(10 * MS, 0) == -1
    assert lost(rack) == [(0, 10_000)], "what lies behind was sent later"


def test_second_copy_is_lost_when_what_was_sent_after_it_arrives() -> None:
    """§3.2: lost retransmissions."""
    rack = Rack(0)
    for number in range(5):
        rack.sent(number * 1000, number * 1000 + 1000, number)
    sack(rack, 1000, 4000, 10 * MS)
    rack.detect(10 * MS, 0)
    rack.sent_lost(1000, 10 * MS)
    assert (lost(rack), rack.has_gap()) == ([], False)
    rack.sent(5000, 6000, 11 * MS)
    sack(rack, 4000, 5000, 11 * MS)
    assert not rack.has_gap(), "that was sent before the second copy"
    sack(rack, 5000, 6000, 21 * MS)
    rack.detect(21 * MS, 0)
    assert lost(rack) == [(0, 1000)]
    assert rack.lost_again > 0


def test_arrival_of_the_first_copy_is_not_taken_for_that_of_the_second() -> None:
    """§6.2 step 2: quicker than any round trip so far."""
    rack = Rack(0)
    for number in range(4):
        rack.sent(number * 1000, number * 1000 + 1000, 0)
    sack(rack, 1000, 2000, 10 * MS)
    rack.detect(10 * MS, 0)
    rack.sent_lost(1000, 10 * MS)
    rack.advance(1000, 10 * MS + 5)
    assert not rack.has_gap()


def test_late_arrival_below_what_has_arrived_is_reordering() -> None:
    """§6.2 step 3."""
    rack = Rack(0)
    for number in range(4):
        rack.sent(number * 1000, number * 1000 + 1000, number)
    sack(rack, 1000, 2000, 10 * MS)
    assert not rack.reordering_seen
    sack(rack, 0, 1000, 10 * MS)
    assert rack.reordering_seen


def test_one_acknowledgment_of_everything_is_no_reordering() -> None:
    """Those between were lost on their way, not the data."""
    rack = Rack(0)
    for number in range(4):
        rack.sent(number * 1000, number * 1000 + 1000, number)
    rack.sacked(3000, 4000, 1000, 10 * MS)
    rack.advance(2000, 10 * MS)
    rack.acknowledged()
    assert not rack.reordering_seen


def test_arrival_of_what_was_sent_again_is_no_reordering() -> None:
    rack = Rack(0)
    rack.sent(0, 1000, 0)
    rack.sent(1000, 2000, 1)
    sack(rack, 1000, 2000, 10 * MS)
    rack.detect(10 * MS, 0)
    rack.sent_lost(1000, 10 * MS)
    rack.advance(2000, 20 * MS)
    assert not rack.reordering_seen


def test_window_is_a_quarter_of_the_least_round_trip_until_loss_is_proven() -> None:
    """§6.2 step 4."""
    rack = Rack(0)
    rack.sent(0, 1000, 0)
    rack.advance(1000, 8 * MS)
    assert rack.reo_wnd(False, 10 * MS) == 2 * MS
    assert rack.reo_wnd(True, 10 * MS) == REO_WND_MIN
    rack.reordering_seen = True
    assert rack.reo_wnd(True, 10 * MS) == 2 * MS


def test_window_grows_with_dsacks_once_a_round_trip_and_shrinks_again() -> None:
    """§6.2 step 4."""
    rack = Rack(0)
    rack.sent(0, 1000, 0)
    rack.advance(1000, 8 * MS)
    rack.on_dsack(1000, 9000)
    rack.on_dsack(5000, 20_000)
    assert rack.reo_wnd(False, 100 * MS) == 4 * MS
    rack.on_dsack(9000, 20_000)
    assert rack.reo_wnd(False, 100 * MS) == 6 * MS
    assert rack.reo_wnd(False, 5 * MS) == 5 * MS, "never more than the round trip"
    for _ in range(REO_WND_PERSIST):
        assert rack.steps == 3
        rack.on_recovery_end()
    assert rack.steps == 1


def test_records_stay_bounded() -> None:
    rack = Rack(0)
    for number in range(10 * MAX_RUNS):
        rack.sent(number, number + 1, number)
    assert len(rack._runs) == MAX_RUNS
    rack.advance(10 * MAX_RUNS, 10 * MAX_RUNS)
    assert rack._runs == []


def test_numbers_wrap() -> None:
    rack = Rack(2**32 - 1500)
    rack.sent(2**32 - 1500, 2**32 - 500, 0)
    rack.sent(2**32 - 500, 500, 0)
    rack.sent(500, 1500, 0)
    rack.sacked(500, 1500, 1000, 10 * MS)
    rack.detect(10 * MS, 0)
    assert [(run.seq, run.end) for run in rack.lost] == [(2**32 - 1500, 500)]
    rack.advance(2**32 - 500, 11 * MS)
    assert [(run.seq, run.end) for run in rack.lost] == [(2**32 - 500, 500)]
    rack.advance(1500, 12 * MS)
    assert rack.lost_octets == 0


def test_every_octet_has_arrived_is_under_way_or_lost() -> None:
    """Whatever happens in whatever order, against a model of one entry for each octet."""
    for seed in range(200):
        draw = random.Random(seed)
        rack, board = Rack(0), Scoreboard()
        una = nxt = now = 0
        arrived: set[int] = set()
        for _ in range(60):
            now += draw.choice((0, 0, 3, 50))
            what = draw.randrange(6)
            if what <= 1:
                size = draw.randrange(1, 20)
                rack.sent(nxt, nxt + size, now)
                nxt += size
            elif what == 2 and nxt > una + 1:
                left = draw.randrange(una + 1, nxt)
                right = min(left + draw.randrange(1, 15), nxt)
                before = board.sacked
                if board.add(left, right):
                    rack.sacked(left, right, board.sacked - before, now)
                    arrived |= set(range(left, right))
            elif what == 3 and nxt > una:
                una = draw.randrange(una, nxt + 1)
                board.advance(una)
                rack.advance(una, now)
            elif what == 4 and rack.lost_octets:
                first = rack.lost[0]
                rack.sent_lost(draw.randrange(1, first.end - first.seq + 1), now)
            elif draw.random() < 0.05:
                rack.lose_all(una, nxt, board)
            else:
                rack.detect(now, draw.choice((0, 20)))
            rack.acknowledged()
            found = [octet for run in [*rack._runs, *rack.lost] for octet in range(run.seq, run.end)]
            assert sorted(found) == [octet for octet in range(una, nxt) if octet not in arrived], seed
            assert lost(rack) == sorted(lost(rack))
            assert [run.order for run in rack._runs] == sorted(run.order for run in rack._runs)
            assert rack._again_count == sum(run.is_again for run in rack._runs)
