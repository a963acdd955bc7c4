"""What watches over ECN notices each kind of fault, and none where there is none."""

from collections.abc import Callable

import pytest

from tests.sim.link import ecn_field, mark
from tests.sim.marks import Marks
from tests.sim.scenarios import from_seed
from tests.sim.timeline import Broken
from tests.sim.world import run
from tests.unit.tcp.builders import WND, Script, unanswered
from tests.unit.tcp.frames import arriving
from tunproxy.tcp.connection import Connection
from tunproxy.wire.tcp import ACK, CWR, ECE, SYN, Segment
from tunproxy.wire.vnet import VNET_LEN

OFFER = SYN | ECE | CWR
FLAGS = VNET_LEN + 20 + 13


class Watched:
    """A connection with ECN that has answered its SYN, and the watch over it."""

    def __init__(self, syn_flags: int = OFFER) -> None:
        self.marks = Marks()
        self.conn: Connection = unanswered(syn_flags=syn_flags, mss=1000, wnd=40_000, cwnd=10_000)
        ours = self.conn.ends
        self.marks.hear_first(arriving(ours, seq=999, flags=syn_flags, wnd=WND))
        self.peer = Script(self.conn)
        self.peer.wnd = 40_000
        self.peer.accepts()
        assert self.sent() == []
        self.peer.sends()

    def sent(self, change: Callable[[bytearray], None] | None = None) -> list[str]:
        """Return what is wrong with the frames sent since the last look, had they been changed so."""
        found = []
        for frame in self.peer.recorder.frames:
            octets = bytearray(frame)
            if change is not None:
                change(octets)
            found += self.marks.sent(bytes(octets))
        self.peer.recorder.frames.clear()
        return found

    def hears(self, *, flags: int = ACK, ack: int | None = None, payload: bytes = b"", ecn: int = 0) -> None:
        """Tell the watch, and not the connection, of a segment."""
        number = self.conn.snd_una if ack is None else ack
        self.marks.before(
            self.conn,
            arriving(
                self.conn.ends,
                seq=self.conn.rcv_nxt,
                ack=number,
                flags=flags,
                wnd=WND,
                payload=payload,
                ecn=ecn,
            ),
        )


def clear(octets: bytearray) -> None:
    octets[VNET_LEN + 1] = 0


def capable(octets: bytearray) -> None:
    octets[VNET_LEN + 1] = 2


def with_flag(flag: int) -> Callable[[bytearray], None]:
    def change(octets: bytearray) -> None:
        octets[FLAGS] |= flag

    return change


def test_right_conversation_has_no_fault() -> None:
    watched = Watched()
    watched.peer.queues(bytes(3000))
    assert watched.sent() == []
    watched.hears(payload=b"a", ecn=3)
    watched.peer.sends(payload=b"a", ecn=3)
    assert watched.sent() == []
    assert watched.marks.echoed == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (clear, "new data is not ECN-capable"),
        (with_flag(ECE), "an echo of nothing"),
    ],
)
def test_fault_of_new_data_is_noticed(change: Callable[[bytearray], None], fault: str) -> None:
    watched = Watched()
    watched.peer.queues(b"x")
    assert watched.sent(change) == [fault]


def test_data_sent_again_must_not_be_ecn_capable_or_have_cwr() -> None:
    watched = Watched()
    watched.peer.queues(b"x")
    watched.sent()
    watched.peer.at(1_000_000).wakes()
    assert watched.sent(capable)[:1] == ["what is sent again is ECN-capable"]
    watched.peer.at(2_000_000).wakes()
    assert watched.sent(with_flag(CWR))[:1] == ["CWR on what is not new"]


def test_ecn_that_was_not_agreed_on_is_noticed() -> None:
    watched = Watched(SYN)
    watched.peer.queues(b"x")
    assert watched.sent(capable) == ["ECN-capable where it was not agreed on"]


def test_yes_to_no_offer_is_noticed() -> None:
    marks = Marks()
    conn = unanswered()
    marks.hear_first(arriving(conn.ends, seq=999, flags=SYN, wnd=WND))
    peer = Script(conn).accepts()
    (frame,) = peer.recorder.frames
    octets = bytearray(frame)
    octets[FLAGS] |= ECE
    assert list(marks.sent(bytes(octets))) == ["yes to an offer that nobody made"]


def test_mark_that_is_not_echoed_is_noticed() -> None:
    watched = Watched()
    watched.hears(payload=b"a", ecn=3)
    watched.peer.sends(payload=bytes(3000))
    assert watched.sent() == ["a mark is not echoed"]


def test_echo_that_does_not_end_with_cwr_is_noticed() -> None:
    watched = Watched()
    watched.peer.sends(payload=b"a", ecn=3)
    watched.peer.recorder.frames.clear()
    watched.hears(payload=b"b", flags=ACK | CWR)
    watched.peer.sends(payload=bytes(3000))
    assert watched.sent() == ["an echo of nothing"]


@pytest.mark.parametrize(
    ("cwnd", "fault"),
    [(10_001, "the window grew from 10000 to 10001 by an echo"), (7000, ""), (10_000, "")],
)
def test_window_that_grows_by_an_echo_is_noticed(cwnd: int, fault: str) -> None:
    watched = Watched()
    watched.peer.queues(bytes(3000))
    seg = arriving(watched.conn.ends, seq=watched.conn.rcv_nxt, ack=6000, flags=ACK | ECE, wnd=WND)
    watched.marks.before(watched.conn, seg)
    watched.conn.congestion.cwnd = cwnd
    assert list(watched.marks.after(watched.conn, seg)) == ([fault] if fault else [])


def test_second_reduction_of_a_window_is_noticed() -> None:
    watched = Watched()
    watched.peer.queues(bytes(3000))
    for ack, faults in ((6000, 0), (7000, 1)):
        seg = arriving(watched.conn.ends, seq=watched.conn.rcv_nxt, ack=ack, flags=ACK | ECE, wnd=WND)
        watched.marks.before(watched.conn, seg)
        watched.conn.congestion.cwnd -= 1000
        assert len(list(watched.marks.after(watched.conn, seg))) == faults
    assert watched.marks.reductions == 2


def test_reset_says_nothing() -> None:
    watched = Watched()
    watched.peer.aborts()
    assert watched.sent(with_flag(ECE)) == []


def test_world_finds_out_who_does_not_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """From end to end: routers mark what only the watch sees."""

    def before(marks: Marks, conn: Connection, seg: Segment) -> None:
        if ecn_field(seg.frame) == 2:
            whole, seg.frame = seg.frame, mark(seg.frame)
            watch(marks, conn, seg)
            seg.frame = whole
        else:
            watch(marks, conn, seg)

    watch = Marks.before
    monkeypatch.setattr(Marks, "before", before)
    faults = []
    for seed in range(30):
        try:
            run(from_seed(seed))
        except Broken as broken:
            faults.append(str(broken).splitlines()[0].rpartition(": ")[2])
    assert faults
    assert set(faults) == {"a mark is not echoed"}
