"""When each octet under way was sent, and which are lost by that (RACK, RFC 8985).

A ``Run`` is a range of sequence numbers that left at one time. Runs are kept in the order in which they
were sent, not in that of their numbers: what was sent again stands at the end. An acknowledgment takes out
what has arrived; whatever was sent before the newest that arrived, and long enough ago, is lost, and moves
from the runs to ``lost``, from where ``transmit`` sends it again, as a new run. So the loss of a
retransmission shows in the same way as the first loss.

  lost │ sent long before    sent before         newest that    sent after it
       │ that: lost now      that: wait a while  arrived
───────┴───────────────────┬───────────────────┬──────────────┬─────────────── time of transmission

Used only where SACK was agreed on. Without loss it costs one comparison and one entry for what is sent at
one time, and its removal.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.tcp.scoreboard import Scoreboard
from tunproxy.tcp.seq import seq_add, seq_le, seq_lt, seq_max, seq_sub

REO_WND_PERSIST: Final[i64] = 16  # RFC 8985 §6.2 step 4: recoveries
MIN_RTT_WINDOW: Final[i64] = 300_000_000  # RFC 8985 §6.2 step 1 leaves it open: as the kernel

# our choices
MAX_RUNS: Final = 1024  # beyond this, sends share a record or have none and are left to the time-out
MAX_STEPS: Final[i64] = 64  # of the reordering window; srtt bounds it as well
# What leaves in one batch has one time stamp, and the device passes it on a piece at a time.
REO_WND_MIN: Final[i64] = 100


@final
@mypyc_attr(native_class=True, acyclic=True)
class Run:
    """Octets [seq, end) that were sent at one time; order tells which of two runs was sent first."""

    def __init__(self, seq: i64, end: i64, at: Micros, order: i64, is_again: bool) -> None:
        self.seq: i64 = seq
        self.end: i64 = end
        self.at: Micros = at
        self.order: i64 = order
        self.is_again: bool = is_again  # had been sent before


@final
@mypyc_attr(native_class=True, acyclic=True)
class Rack:
    """What one connection has under way and has lost, and what RACK has learnt of its path."""

    def __init__(self, iss: i64) -> None:
        self.lost: Final[list[Run]] = []  # by sequence number, without overlap, to be sent again
        self.lost_octets: i64 = 0
        self.lost_again: i64 = -1  # the newest retransmission that was lost, by order
        self.sent_order: i64 = 0  # of the newest run
        self.min_rtt: Micros = -1
        self.fresh_rtt: Micros = -1  # the longest of what this acknowledgment told of and was sent once
        self.reordering_seen: bool = False
        self.steps: i64 = 1  # quarters of min_rtt in the reordering window
        self._runs: Final[list[Run]] = []  # by order, without overlap
        self._again_count: i64 = 0  # runs that had been sent before
        # the newest run of which something has arrived
        self._order: i64 = 0
        self._end: i64 = iss
        self._rtt: Micros = 0
        # reordering
        self._highest: i64 = iss  # end of what had arrived before this acknowledgment (RACK.fack)
        self._highest_now: i64 = iss
        self._min_rtt_at: Micros = 0
        self._persist: i64 = 0
        self._round_end: i64 = -1  # one step for all D-SACKs before it

    # sending

    def sent(self, seq: i64, end: i64, now: Micros) -> None:
        """Note that [seq, end) was sent for the first time."""
        runs = self._runs
        if len(runs) > 0:
            last = runs[-1]
            if last.end == seq and not last.is_again and (last.at == now or len(runs) >= MAX_RUNS):
                last.end = end
                last.at = now  # later than it was: no loss is seen too early
                return
            if len(runs) >= MAX_RUNS:
                return
        self.sent_order += 1
        runs.append(Run(seq, end, now, self.sent_order, False))

    def sent_lost(self, count: i64, now: Micros) -> None:
        """Note that the first count octets of what is lost were sent again."""
        first = self.lost[0]
        seq = first.seq
        end = seq_add(seq, count)
        self.lost_octets -= count
        if end == first.end:
            self.lost.pop(0)
        else:
            first.seq = end
        self._append_again(seq, end, now)

    def sent_again(self, seq: i64, end: i64, now: Micros) -> None:
        """Note that [seq, end), of which nothing is lost, was sent again all the same."""
        self._take_out(self._runs, seq, end, seq_sub(end, seq), -1)
        self._append_again(seq, end, now)

    def _append_again(self, seq: i64, end: i64, now: Micros) -> None:
        runs = self._runs
        if len(runs) > 0 and runs[-1].end == seq and runs[-1].is_again and runs[-1].at == now:
            runs[-1].end = end
            return
        if len(runs) >= MAX_RUNS:
            return
        self.sent_order += 1
        self._again_count += 1
        runs.append(Run(seq, end, now, self.sent_order, True))

    # what arrives

    def sacked(self, left: i64, right: i64, count: i64, now: Micros) -> None:
        """Take out what a block tells of; count of its octets are news (RFC 8985 §6.2 steps 1 to 3)."""
        self._highest_now = seq_max(self._highest_now, right)
        count -= self._take_out(self._runs, left, right, count, now)
        if count > 0 and self.lost_octets > 0:
            self.lost_octets -= self._take_out(self.lost, left, right, count, now)

    def advance(self, ack: i64, now: Micros) -> None:
        """Take out what a cumulative acknowledgment covers."""
        self._highest_now = seq_max(self._highest_now, ack)
        runs = self._runs
        count = i64(len(runs))
        done: i64 = 0
        while done < count and seq_le(runs[done].end, ack):
            run = runs[done]
            self._arrived(run, run.end, now)
            if run.is_again:
                self._again_count -= 1
            done += 1
        if done == 1:
            runs.pop(0)
        elif done > 1:
            del runs[:done]
        if done < count and seq_lt(runs[0].seq, ack):
            self._arrived(runs[0], ack, now)
            runs[0].seq = ack
        if self._again_count > 0:
            self._advance_behind(ack, now)
        lost = self.lost
        while len(lost) > 0 and seq_lt(lost[0].seq, ack):
            run = lost[0]
            end = run.end if seq_le(run.end, ack) else ack
            self._arrived(run, end, now)
            self.lost_octets -= seq_sub(end, run.seq)
            if end == run.end:
                lost.pop(0)
            else:
                run.seq = ack

    def _advance_behind(self, ack: i64, now: Micros) -> None:
        """Take out what an acknowledgment covers where numbers are not in the order of sending."""
        runs = self._runs
        index = 0
        while index < len(runs):
            run = runs[index]
            if seq_le(run.end, ack):
                self._arrived(run, run.end, now)
                if run.is_again:
                    self._again_count -= 1
                runs.pop(index)
                continue
            if seq_lt(run.seq, ack):
                self._arrived(run, ack, now)
                run.seq = ack
            index += 1

    def acknowledged(self) -> None:
        """Say that an acknowledgment has been taken in whole: what comes next below it came late."""
        self._highest = self._highest_now

    def _arrived(self, run: Run, end: i64, now: Micros) -> None:
        """Learn from the arrival of run up to end (RFC 8985 §6.2 steps 1 to 3)."""
        rtt = now - run.at
        if run.is_again:
            if rtt < self.min_rtt:
                return  # it is what was sent before that arrived
        else:
            self.fresh_rtt = max(self.fresh_rtt, rtt)
            if seq_lt(end, self._highest):
                self.reordering_seen = True
            if rtt < self.min_rtt or self.min_rtt < 0 or now - self._min_rtt_at > MIN_RTT_WINDOW:
                self.min_rtt = rtt
                self._min_rtt_at = now
        if run.order > self._order or (run.order == self._order and seq_lt(self._end, end)):
            self._order = run.order
            self._end = end
            self._rtt = rtt

    def _take_out(self, runs: list[Run], left: i64, right: i64, most: i64, now: Micros) -> i64:
        """Cut [left, right) out of runs and return its octets there; look no further after most octets.

        It has arrived, unless now is -1.
        """
        found: i64 = 0
        index = 0
        is_sent = runs is self._runs
        while index < len(runs) and found < most:
            run = runs[index]
            low = seq_max(run.seq, left)
            high = run.end if seq_lt(run.end, right) else right
            if not seq_lt(low, high):
                index += 1
                continue
            found += seq_sub(high, low)
            if now >= 0:
                self._arrived(run, high, now)
            if low == run.seq and high == run.end:
                if is_sent and run.is_again:
                    self._again_count -= 1
                runs.pop(index)
            elif low == run.seq:
                run.seq = high
            else:
                if high != run.end:
                    runs.insert(index + 1, Run(high, run.end, run.at, run.order, run.is_again))
                    if is_sent and run.is_again:
                        self._again_count += 1
                run.end = low
                index += 1
        return found

    # what is lost

    def detect(self, now: Micros, reo_wnd: Micros) -> Micros:
        """Move to lost what was sent before the newest that arrived (RFC 8985 §6.2 step 5).

        Returns when to look again, -1 for never. Deviates from the RFC, which waits for all that may be
        lost: here the first decides, and no time goes by between a loss and its detection.
        """
        runs = self._runs
        done = 0
        due: Micros = -1
        while done < len(runs) and self._is_before(runs[done]):
            run = runs[done]
            if run.at + self._rtt + reo_wnd > now:
                due = run.at + self._rtt + reo_wnd
                break
            self._lose(run)
            done += 1
        if done > 0:
            del runs[:done]
        return due

    def has_gap(self) -> bool:
        """Tell whether something is under way that was sent before what has arrived."""
        return len(self._runs) > 0 and self._is_before(self._runs[0])

    def _is_before(self, run: Run) -> bool:
        return run.order < self._order or (run.order == self._order and seq_le(run.end, self._end))

    def lose_below(self, until: i64) -> None:
        """Move to lost what lies before until and was sent once (RFC 6675 §4 IsLost)."""
        runs = self._runs
        index = 0
        while index < len(runs):
            run = runs[index]
            if run.is_again:
                index += 1
            elif seq_le(run.end, until):
                self._lose(run)
                runs.pop(index)
            else:
                if seq_lt(run.seq, until):
                    self._lose(Run(run.seq, until, run.at, run.order, False))
                    run.seq = until
                return

    def lose_all(self, snd_una: i64, snd_nxt: i64, board: Scoreboard | None) -> None:
        """Take everything as lost that is not known to have arrived (RFC 6298 §5.4)."""
        self._runs.clear()
        self._again_count = 0
        self.lost.clear()
        self.lost_octets = 0
        seq = snd_una
        while seq_lt(seq, snd_nxt):
            right = snd_nxt
            if board is not None:
                seq, right = board.next_hole(seq, snd_nxt)
                if seq == right:
                    return
            self.lost.append(Run(seq, right, 0, 0, True))
            self.lost_octets += seq_sub(right, seq)
            seq = right

    def oldest(self) -> Run | None:
        """Return the run that was sent first of those under way, None when there is no record of any."""
        return self._runs[0] if len(self._runs) > 0 else None

    def first_doubtful(self, highest: i64) -> i64:
        """Return where the first octets begin that were sent once, lie below highest and have not arrived.

        -1 when there are none.
        """
        for run in self._runs:
            if not run.is_again:
                return run.seq if seq_lt(run.seq, highest) else -1
        return -1

    def doubtful_end(self, seq: i64, most: i64) -> i64:
        """Return the end of the run that begins at seq, most octets behind it at most."""
        for run in self._runs:
            if run.seq == seq:
                return seq_add(seq, min(seq_sub(run.end, seq), most))
        return seq

    def _lose(self, run: Run) -> None:
        if run.is_again:
            self._again_count -= 1
            self.lost_again = max(self.lost_again, run.order)
        self.lost_octets += seq_sub(run.end, run.seq)
        lost = self.lost
        at = len(lost)
        while at > 0 and seq_lt(run.seq, lost[at - 1].seq):
            at -= 1
        if at > 0 and lost[at - 1].end == run.seq and lost[at - 1].is_again == run.is_again:
            lost[at - 1].end = run.end
        else:
            lost.insert(at, run)

    # the reordering window

    def reo_wnd(self, is_proven: bool, srtt: Micros) -> Micros:
        """Return how long the later sent may arrive before the earlier (RFC 8985 §6.2 step 4).

        is_proven where recovery goes on, or three segments have arrived ahead of a gap.
        """
        if is_proven and not self.reordering_seen:
            return REO_WND_MIN
        return max(min(self.steps * max(self.min_rtt, 0) // 4, srtt), REO_WND_MIN)

    def on_dsack(self, snd_una: i64, snd_nxt: i64) -> None:
        """Widen the reordering window, by one step a round trip: something was sent again in vain."""
        if self._round_end >= 0 and seq_lt(snd_una, self._round_end):
            return
        self._round_end = snd_nxt
        self.steps = min(self.steps + 1, MAX_STEPS)
        self._persist = REO_WND_PERSIST

    def on_recovery_end(self) -> None:
        """Count a recovery; after REO_WND_PERSIST of them without a D-SACK the window is small again."""
        if self._persist > 0:
            self._persist -= 1
            if self._persist == 0:
                self.steps = 1
