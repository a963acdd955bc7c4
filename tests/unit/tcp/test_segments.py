"""The segments we make carry what they must; what goes out when is the business of others."""

import pytest

from tests.unit.tcp.builders import START, Script, established, syn_sent, unanswered
from tests.unit.tcp.frames import Recorder, parse_sent
from tunproxy.tcp.connection import Connection
from tunproxy.tcp.segments import JOIN_BELOW, send_ack, send_data, send_rst, ts_now
from tunproxy.wire.tcp import ACK, PSH, RST


class Parts(Recorder):
    """Tells in how many parts each frame came."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[int] = []

    def write_parts(self, header: bytes, pieces: list[bytes | memoryview]) -> None:
        self.parts.append(len(pieces))
        super().write_parts(header, pieces)


def filled(size: int) -> Connection:
    conn = established(snd_nxt=0, mss=1000, tso=True)
    conn.buffer.append(bytes(size))
    return conn


@pytest.mark.parametrize(("size", "parts"), [(JOIN_BELOW - 1, []), (JOIN_BELOW, [1])])
def test_large_data_is_not_copied_behind_its_header(size: int, parts: list[int]) -> None:
    out = Parts()
    send_data(filled(size), 0, size, PSH, START, out)
    assert out.parts == parts
    sent = parse_sent(out.frames[0])
    assert (sent.seq, sent.length, sent.gso_size, sent.flags) == (0, size, 1000, ACK | PSH)


def test_data_changes_nothing_of_the_sending_half() -> None:
    conn = filled(500)
    before = (conn.snd_una, conn.snd_nxt, conn.rto_at, conn.sent_at)
    send_data(conn, 0, 500, 0, START, Recorder())
    assert (conn.snd_una, conn.snd_nxt, conn.rto_at, conn.sent_at) == before


def test_acknowledgment_settles_what_was_due() -> None:
    peer = Script(established())
    peer.sends(payload=b"text", settle=False)
    assert peer.conn.ack_at >= 0
    send_ack(peer.conn, START, peer.recorder)
    assert peer.conn.ack_at < 0
    peer.expects(flags=ACK, ack=1004)


@pytest.mark.parametrize(
    ("conn", "flags", "seq"),
    [(syn_sent(), RST, 5000), (unanswered(), RST | ACK, 0), (established(), RST | ACK, 5000)],
    ids=["opening", "refusing", "established"],
)
def test_reset_is_one_that_the_peer_accepts(conn: Connection, flags: int, seq: int) -> None:
    out = Recorder()
    send_rst(conn, out)
    sent = parse_sent(out.frames[0])
    assert (sent.flags, sent.seq) == (flags, seq)


def test_timestamp_clock_ticks_once_a_millisecond_and_wraps() -> None:
    conn = established(ts=True)
    assert ts_now(conn, 5_999) + 1 == ts_now(conn, 6_000)
    conn.ts_offset = 2**32 - 1
    assert ts_now(conn, 1000) == 0
