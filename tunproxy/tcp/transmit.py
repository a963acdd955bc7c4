"""The sending half: what goes out now (RFC 9293 §3.8, §3.10.7, RFC 6675 §5).

``transmit`` is the one entry: first what was lost, then new octets, then an acknowledgment if one is
still due. Super-packets of up to ``snd_burst`` octets leave in one piece for the device to cut.
"""

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.congestion import UNTHROTTLED, initial_window
from tunproxy.tcp.connection import Connection, pipe, recovery_of
from tunproxy.tcp.ecn import reduce_for_loss
from tunproxy.tcp.recovery_state import Recovery
from tunproxy.tcp.retransmit import (
    is_repaired,
    probe_in_recovery,
    room,
    send_doubtful,
    send_lost,
    send_tail_again,
)
from tunproxy.tcp.segments import send_ack, send_data
from tunproxy.tcp.seq import seq_add, seq_le, seq_sub
from tunproxy.tcp.state import sends_data
from tunproxy.tcp.tlp import arm_probe
from tunproxy.wire.sink import FrameSink
from tunproxy.wire.tcp import FIN, PSH


def transmit(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send everything that may be sent now, with or as the acknowledgment that is due."""
    if sends_data(conn.state):
        recovery = conn.recovery
        if recovery is not None and not is_repaired(recovery):
            send_lost(conn, recovery, now, out)
        if (recovery is None or is_repaired(recovery)) and (
            conn.buffer.length != conn.flight_size or (conn.fin_queued and not conn.fin_sent)
        ):
            _send_new(conn, now, out)
        if recovery is not None and recovery.is_on and conn.sack_on and recovery.rack.lost_octets == 0:
            send_doubtful(conn, recovery, now, out)
        if conn.congestion.cwnd < UNTHROTTLED:
            _note_use(conn)
    if conn.ack_now:
        send_ack(conn, now, out)


def _note_use(conn: Connection) -> None:
    """Note that all that is under way fills the congestion window, where it does, so that it may grow.

    In slow start half of it is enough (RFC 7661 §4.3): who writes eight segments at a time may have sixteen.
    """
    cwnd = conn.congestion.cwnd
    free = cwnd - pipe(conn)
    if free < conn.snd_mss or (cwnd < conn.congestion.ssthresh and free * 2 <= cwnd):
        conn.used_until = conn.snd_nxt


def _send_new(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send octets and the FIN that were not sent before, as windows allow."""
    mss = conn.snd_mss
    before = conn.snd_nxt
    if before == conn.snd_una and conn.sent_at >= 0 and conn.congestion.cwnd < UNTHROTTLED:
        initial = conn.settings.cwnd if conn.settings.cwnd > 0 else initial_window(mss)
        conn.congestion.on_idle_end(now - conn.sent_at, conn.rtt.rto, initial, now)
    while not conn.fin_sent:
        flight_size = conn.flight_size
        available = conn.buffer.length - flight_size
        most = min(conn.snd_wnd - flight_size, room(conn))
        # CWR is for one segment; the device must know of that before it cuts
        burst = mss if conn.cwr_due and not conn.settings.has_tso_ecn else conn.snd_burst
        size = min(min(available, most), burst)
        if size < available and size > mss:
            size -= size % mss
        elif 0 < size < mss and size < available and flight_size > 0 and size * 2 < conn.max_snd_wnd:
            size = 0  # silly window avoidance (RFC 9293 §3.8.6.2.1)
        has_fin = conn.fin_queued and size == available and most > size
        if size <= 0 and not has_fin:
            break
        size = max(size, 0)
        _emit_new(conn, size, PSH if size == available else 0, has_fin, now, out)
    if conn.sack_on and conn.snd_nxt != before:
        arm_probe(conn, now)
    is_blocked = conn.buffer.length > 0 or (conn.fin_queued and not conn.fin_sent)
    if is_blocked and conn.snd_nxt == conn.snd_una and conn.persist_at < 0 and conn.resume_at < 0:
        conn.persist_at = now + conn.rtt.rto


def _emit_new(conn: Connection, size: i64, flags: i64, has_fin: bool, now: Micros, out: FrameSink) -> None:
    seq = conn.snd_nxt
    send_data(conn, seq, size, flags | FIN if has_fin else flags, now, out)
    end = seq_add(seq, size + 1 if has_fin else size)
    recovery = conn.recovery
    if recovery is None and conn.sack_on and seq != conn.snd_una and conn.sent_at != now:
        recovery = recovery_of(conn)  # from now on one time is not enough
    conn.snd_nxt = end
    conn.sent_at = now
    if recovery is not None:
        _note_new(conn, recovery, seq, end, now)
    if conn.rtt_seq < 0:
        conn.rtt_seq = end
        conn.rtt_at = now
    conn.fin_sent = has_fin
    if conn.rto_at < 0:
        conn.rto_at = now + conn.rtt.rto
    conn.persist_at = -1


def _note_new(conn: Connection, recovery: Recovery, seq: i64, end: i64, now: Micros) -> None:
    if conn.sack_on:
        recovery.rack.sent(seq, end, now)
        if recovery.prr.is_on:
            recovery.prr.on_sent(seq_sub(end, seq))
    elif recovery.dupacks > 0 and not recovery.is_on:
        recovery.limited += seq_sub(end, seq)
    if not recovery.is_on:
        recovery.rtx_nxt = end
        recovery.lost_until = end


def send_loss_probe(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send one segment after a silence, new data or the last again, whatever cwnd says (RFC 8985 §7.3)."""
    recovery = recovery_of(conn)
    recovery.tlp_count += 1
    if recovery.is_on:
        probe_in_recovery(conn, recovery, now, out)
    else:
        _probe_tail(conn, recovery, now, out)
    conn.rto_at = now + conn.rtt.rto
    arm_probe(conn, now)


def _probe_tail(conn: Connection, recovery: Recovery, now: Micros, out: FrameSink) -> None:
    flight_size = conn.flight_size
    if recovery.tlp_end >= 0 and recovery.tlp_is_again and seq_le(recovery.tlp_end, conn.snd_una):
        # no D-SACK came: the probe before this made up for a loss
        reduce_for_loss(conn, (recovery.tlp_end - 1) & 0xFFFF_FFFF, flight_size)
        recovery.undo_from = -1
    available = conn.buffer.length - flight_size
    recovery.tlp_is_again = available <= 0 or conn.fin_sent or conn.snd_wnd - flight_size < conn.snd_mss
    if recovery.tlp_is_again:
        send_tail_again(conn, recovery, now, out)
    else:
        size = min(available, conn.snd_mss)
        has_fin = conn.fin_queued and size == available and conn.snd_wnd - flight_size > size
        _emit_new(conn, size, PSH if size == available else 0, has_fin, now, out)
    recovery.tlp_end = conn.snd_nxt
