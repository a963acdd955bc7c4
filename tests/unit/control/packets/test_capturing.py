"""One capture of a worker: order, waiting, room, and its end. Nothing here waits for long."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.unit.control.packets.world import ACK, FIN, SYN, World, flow_frame, records_of, world
from tunproxy import clock
from tunproxy.control.flow_filter import parse_filter
from tunproxy.control.packets import capturing
from tunproxy.control.packets.capturing import Capture
from tunproxy.control.packets.marking import FlowMarker
from tunproxy.control.packets.shipping import Counts, Name, Packet, Records


@pytest.fixture(autouse=True)
def held_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what waits wait for longer than this machine may stand still."""
    monkeypatch.setattr(capturing, "HOLD", 60 * 10**9)
    monkeypatch.setattr(capturing, "HOLD_END", 60 * 10**9)


class Place:
    """A capture, and the supervisor's end of its socket."""

    def __init__(self, made: World, text: str = "", snaplen: int = 100_000) -> None:
        self.world = made
        self.ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        marker = FlowMarker(parse_filter(text), made.lives, made.lives, made.recent, None)
        self.reader = Records()
        self.closed: list[Capture] = []
        self.capture = Capture(made.rig.dataplane, theirs, marker, snaplen, self.closed.append)

    def pass_by(self, *frames: bytes, is_up: bool = True) -> None:
        for frame in frames:
            self.capture.copier.take(frame, is_up, len(frame), None)

    def ship(self) -> list[Packet | Name | Counts]:
        self.capture.on_deadline(clock.now())
        return records_of(self.ours, self.reader)


@contextmanager
def place(text: str = "", snaplen: int = 100_000) -> Iterator[Place]:
    with world() as made:
        here = Place(made, text, snaplen)
        try:
            yield here
        finally:
            here.ours.close()
            here.capture.close()


def packets(records: list[Packet | Name | Counts]) -> list[Packet]:
    return [each for each in records if isinstance(each, Packet)]


def test_packets_of_chosen_flows_are_shipped_in_their_order_with_names_and_words() -> None:
    with place("port:80") as here:
        here.world.begin(80, name="shop.example")
        here.world.begin(81)
        frames = [flow_frame(80, SYN), flow_frame(81, SYN), flow_frame(80, payload=b"GET /")]
        here.pass_by(*frames)
        here.pass_by(flow_frame(80, is_up=False, payload=b"200"), is_up=False)
        name, *found = here.ship()
        assert name == Name(bytes([192, 0, 2, 1]), "shop.example")
        assert [each.data for each in packets(found)] == [
            frames[0][10:],
            frames[2][10:],
            flow_frame(80, is_up=False, payload=b"200")[10:],
        ]
        assert [each.is_up for each in packets(found)] == [True, True, False]
        assert [len(each.comments) for each in packets(found)] == [1, 0, 0]
        assert (
            packets(found)[0]
            .comments[0]
            .startswith("flow 1: tcp 10.0.0.2:40000 to 192.0.2.1:80 (shop.example")
        )
        assert 0 <= time.time_ns() - packets(found)[0].at < 60e9
        here.pass_by(frames[2])
        assert [type(each) for each in here.ship()] == [Packet], "names and words are said once"


def test_snaplen_cuts_and_the_length_stays() -> None:
    with place(snaplen=41) as here:
        here.world.begin(80)
        here.pass_by(flow_frame(80, payload=bytes(100)))
        [found] = packets(here.ship())
        assert (len(found.data), found.length) == (41, 140)


def test_undecided_packet_keeps_those_behind_it_waiting_but_not_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with place() as here:
        life = here.world.begin(80)
        here.world.begin(81)
        marker = here.capture._marker
        monkeypatch.setattr(marker, "_settle", lambda mark: None)  # nothing is ever known
        here.pass_by(flow_frame(80), flow_frame(81))
        assert here.ship() == []
        monkeypatch.setattr(capturing, "HOLD", 0)
        assert len(packets(here.ship())) == 2
        assert life.ended_at == -1


def test_packets_before_a_late_decision_are_left_out_and_those_after_it_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with place() as here:
        here.world.begin(80)
        answers: list[bool | None] = [None]
        monkeypatch.setattr(here.capture._marker._chosen, "judge", lambda row: answers[0])
        settle = here.capture._marker._settle
        monkeypatch.setattr(here.capture._marker, "_settle", lambda mark: answers[0] and settle(mark))
        here.pass_by(flow_frame(80, payload=b"early"))
        assert here.ship() == []
        monkeypatch.setattr(capturing, "HOLD", 0)
        assert here.ship() == []
        answers[0] = True
        here.pass_by(flow_frame(80, payload=b"late"))
        [found] = packets(here.ship())
        assert found.data.endswith(b"late")
        assert found.comments


def test_fin_waits_for_the_end_of_its_flow() -> None:
    with place() as here:
        life = here.world.begin(80)
        here.pass_by(flow_frame(80, ACK), flow_frame(80, FIN | ACK), flow_frame(80, ACK))
        assert len(packets(here.ship())) == 1
        here.world.end(life)
        found = packets(here.ship())
        assert [
            each.comments[-1].startswith("flow 1 is over: closed") if each.comments else "" for each in found
        ] == [
            "",
            True,
        ]


def test_fin_does_not_wait_for_a_flow_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capturing, "HOLD_END", 0)
    with place() as here:
        here.world.begin(80)
        here.pass_by(flow_frame(80, FIN | ACK))
        assert len(packets(here.ship())) == 1


def test_slow_reader_loses_packets_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capturing, "ROOM", 1 << 20)
    monkeypatch.setattr(capturing, "OUT", 100_000)
    with place() as here:
        here.world.begin(80)
        frame = flow_frame(80, payload=bytes(50_000))
        for _ in range(100):
            here.pass_by(frame)
            here.capture.on_deadline(clock.now())
        copier = here.capture.copier
        assert copier.held <= 1 << 20
        assert copier.lost > 0
        found = []
        while more := here.ship():
            found += more
        here.pass_by(frame)
        found += here.ship()
        here.ours.shutdown(socket.SHUT_WR)
        here.world.rig.dataplane.poll(0)
        found += records_of(here.ours, here.reader)
        assert len(packets(found)) + sum(each.lost for each in packets(found)) == 101
        assert found[-1] == Counts(101, int(copier.lost))
        assert all(each.data == frame[10:] for each in packets(found))


def test_end_ships_what_waits_and_says_how_much_it_was() -> None:
    with place() as here:
        here.pass_by(flow_frame(80, FIN))
        here.ours.shutdown(socket.SHUT_WR)
        here.world.rig.dataplane.poll(0)
        found = records_of(here.ours, here.reader)
        assert (len(packets(found)), found[-1]) == (1, Counts(1, 0))
        assert here.closed == [here.capture]
        here.capture.on_deadline(clock.now())
        here.capture.on_ready(1, clock.now())
        assert here.closed == [here.capture]


def test_capture_ends_when_nobody_is_there_any_more() -> None:
    with place() as here:
        here.ours.close()
        here.world.rig.dataplane.poll(0)
        assert here.closed == [here.capture]


def test_fault_of_ours_ends_the_capture_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with place() as here:

        def fails() -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(here.capture._marker, "look_again", fails)
        here.capture.on_deadline(clock.now())
        assert here.closed == [here.capture]
        assert "a capture has failed" in caplog.text


def test_finish_ships_what_there_is() -> None:
    with place() as here:
        here.pass_by(flow_frame(80))
        here.capture.finish()
        assert [type(each) for each in records_of(here.ours, here.reader)] == [Packet, Counts]
        assert here.closed == [here.capture]
