"""Which flows a capture wants, and what it says of them."""

import asyncio

import pytest

from tests.unit.control.packets.world import SYN, Processes, World, flow_frame, world
from tests.unit.loop.rig import CLIENT, TARGET
from tunproxy import clock
from tunproxy.control.flow_filter import parse_filter
from tunproxy.control.helm.owner_search import OwnerSearch
from tunproxy.control.packets import marking, rows
from tunproxy.control.packets.keys import Ends
from tunproxy.control.packets.marking import FlowMarker
from tunproxy.decide.trace import WAITING
from tunproxy.flow.life import FlowLife
from tunproxy.flow.ports import Timed
from tunproxy.flow.verdict import REJECT, FlowInfo, Verdict
from tunproxy.loop.copying import UNSURE, UNWANTED, WANTED, Copier
from tunproxy.wire.vnet import PLAIN


class Calls(Timed):
    def on_deadline(self, now: int) -> None:
        pass


def marker_of(made: World, text: str = "", owners: OwnerSearch | None = None) -> FlowMarker:
    marker = FlowMarker(parse_filter(text), made.lives, made.lives, made.recent, owners)
    marker.copier = Copier(marker, made.rig.dataplane, Calls(), 1000, 1 << 20)
    return marker


def test_first_packet_comes_before_its_flow() -> None:
    with world() as made:
        marker = marker_of(made, "port:80")
        mark = marker.meet(flow_frame(80, SYN), True)
        assert (mark.wanted, mark.life) == (UNSURE, None)
        life = made.begin(80, name="shop.example")
        marker.look_again()
        assert (mark.wanted, mark.life, mark.is_settled) == (WANTED, life, True)
        assert marker.comments(mark) == (
            "flow 1: tcp 10.0.0.2:40000 to 192.0.2.1:80 (shop.example, by dns); process unknown; "
            "verdict dial, through direct; why: default",
            "",
        )
        assert marker.comments(mark) == ("", "")
        assert marker.name(mark) == (TARGET, "shop.example")
        made.end(life)
        first, last = marker.comments(mark)
        assert first == ""
        assert last.startswith("flow 1 is over: closed; 0 octets up, 0 down, in 0")
        assert marker.comments(mark) == ("", "")


def test_end_is_said_beside_the_last_packet_that_waits() -> None:
    with world() as made:
        marker = marker_of(made)
        mark = marker.meet(flow_frame(80, SYN), True)
        life = made.begin(80)
        marker.look_again()
        made.end(life)
        mark.waiting = 1
        assert marker.comments(mark)[1] == ""
        mark.waiting = 0
        assert "is over" in marker.comments(mark)[1]


def test_flow_that_there_was_before_is_known_at_once() -> None:
    with world() as made:
        made.begin(80)
        made.begin(81)
        marker = marker_of(made, "port:80")
        assert marker.meet(flow_frame(80), True).wanted == WANTED
        assert marker.meet(flow_frame(81, is_up=False), False).wanted == UNWANTED


def test_flow_that_was_refused_at_once_is_found_among_those_that_are_over() -> None:
    with world() as made:
        marker = marker_of(made, "verdict:reject")
        mark = marker.meet(flow_frame(80, SYN), True)
        made.end(made.begin(80, verdict=Verdict(REJECT, "reject", why="a rule")), "refused")
        marker.look_again()
        assert mark.wanted == WANTED
        first, last = marker.comments(mark)
        assert "verdict reject, through reject; why: a rule" in first
        assert last.startswith("flow 1 is over: refused")


def test_what_has_no_flow_is_judged_by_its_ends_and_forgotten() -> None:
    with world() as made:
        marker = marker_of(made, "port:53,80")
        mark = marker.meet(flow_frame(80), True)
        assert mark.wanted == UNSURE
        marker.look_again()
        assert (mark.wanted, mark.is_settled, len(marker)) == (WANTED, True, 0)
        assert marker.comments(mark) == ("no flow: tcp 10.0.0.2:40000 to 192.0.2.1:80", "")
        assert marker.meet(flow_frame(80), True) is not mark
        other = marker.meet(flow_frame(81), True)
        marker.look_again()
        assert other.wanted == UNWANTED


def test_what_is_another_workers_is_left_to_it() -> None:
    with world() as made:

        def is_ours(ends: Ends) -> bool:
            return ends.target_port != 81

        marker = FlowMarker(parse_filter(""), made.lives, made.lives, made.recent, None, is_ours)
        marker.copier = Copier(marker, made.rig.dataplane, Calls(), 1000, 1 << 20)
        ours, theirs = marker.meet(flow_frame(80), True), marker.meet(flow_frame(81), True)
        marker.look_again()
        assert (ours.wanted, theirs.wanted) == (WANTED, UNWANTED)


def test_process_is_waited_for_where_it_decides() -> None:
    async def scenario() -> None:
        with world() as made:
            processes = Processes()
            marker = marker_of(made, "process:curl", OwnerSearch(processes))
            life = made.begin(80)
            mark = marker.meet(flow_frame(80, SYN), True)
            for _ in range(3):
                marker.look_again()
                await asyncio.sleep(0)
            assert (mark.wanted, mark.is_settled) == (UNSURE, False)
            assert "process" not in marker.comments(mark)[0]
            processes.known.set()
            while not mark.is_settled:
                await asyncio.sleep(0)
                marker.look_again()
            assert mark.wanted == WANTED
            assert "process curl (/usr/bin/curl, user 1000)" in marker.comments(mark)[0], (
                "what is new is said"
            )
            assert mark.life is life

    asyncio.run(scenario())


def test_flow_that_is_over_before_anybody_looked_has_no_process() -> None:
    async def scenario() -> None:
        with world() as made:
            marker = marker_of(made, "process:curl", OwnerSearch(Processes()))
            mark = marker.meet(flow_frame(80, SYN), True)
            made.end(made.begin(80))
            marker.look_again()
            assert (mark.wanted, mark.is_settled) == (UNWANTED, True)

    asyncio.run(scenario())


def test_flow_that_is_over_while_its_process_is_looked_for_is_waited_for() -> None:
    async def scenario() -> None:
        with world() as made:
            processes = Processes()
            marker = marker_of(made, "process:curl", OwnerSearch(processes))
            life = made.begin(80)
            mark = marker.meet(flow_frame(80, SYN), True)
            marker.look_again()
            made.end(life)
            marker.look_again()
            assert (mark.wanted, mark.is_settled) == (UNSURE, False)
            processes.known.set()
            while not mark.is_settled:
                await asyncio.sleep(0)
                marker.look_again()
            assert mark.wanted == WANTED

    asyncio.run(scenario())


def test_flow_that_is_not_decided_is_not_judged_by_its_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    with world() as made:
        life = made.begin(80)
        undecided: set[FlowInfo] = {life.info}

        class Waiting:
            state = WAITING

        monkeypatch.setattr(rows, "trace_of", lambda info: Waiting() if info in undecided else None)
        marker = marker_of(made, "rule:default tcp")
        mark = marker.meet(flow_frame(80, SYN), True)
        marker.look_again()
        assert (mark.wanted, mark.is_settled) == (UNSURE, False)
        assert marker.comments(mark)[0].endswith("; not decided yet")
        undecided.clear()
        marker.look_again()
        assert (mark.wanted, mark.is_settled) == (WANTED, True)
        assert marker.comments(mark)[0].endswith("why: default")


def test_ports_that_are_used_again_are_another_flow() -> None:
    with world() as made:
        marker = marker_of(made)
        assert marker.copier is not None
        first = made.begin(80)
        old = marker.meet(flow_frame(80, SYN), True)
        marker.look_again()
        assert marker.meet(flow_frame(80, SYN), True) is old, "a SYN that is sent again"
        made.end(first)
        marker.look_again()
        assert marker.copier.find(6, old.key) is old, "its last acknowledgments"
        new = marker.meet(flow_frame(80, SYN), True)
        assert new is not old
        second = made.begin(80)
        marker.look_again()
        assert new.life is second
        first.ended_at = clock.now() - marking.LINGER
        marker.look_again()
        assert marker.copier.find(6, old.key) is new
        assert len(marker) == 1


def test_ping_is_found_by_its_addresses() -> None:
    ping = PLAIN + b"\x45\0\0\x1c\0\0\0\0\x40\x01" + b"\0\0" + CLIENT + TARGET + b"\x08\0\0\0\0\5\0\1"
    total = sum(int.from_bytes(ping[at : at + 2], "big") for at in range(10, 30, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    ping = ping[:20] + (total ^ 0xFFFF).to_bytes(2, "big") + ping[22:]
    with world() as made:
        marker = marker_of(made, "icmp", OwnerSearch(Processes()))  # which nobody asks about pings
        info = FlowInfo("icmp", CLIENT, 0, TARGET, 0)
        made.lives.icmp.append(FlowLife(1, info, Verdict(REJECT, "reject"), clock.now()))
        mark = marker.meet(ping, True)
        assert (mark.wanted, mark.life) == (WANTED, made.lives.icmp[0])
        marker.look_again()
        assert mark.is_settled
        assert marker.meet(ping, True) is mark
        made.lives.icmp[0].ended_at = clock.now()
        marker.look_again()
        marker.look_again()
        assert len(marker) == 0


@pytest.mark.parametrize(("text", "wanted"), [("", WANTED), ("tcp", UNWANTED)])
def test_what_is_no_packet_is_for_those_who_want_everything(text: str, wanted: int) -> None:
    with world() as made:
        marker = marker_of(made, text)
        mark = marker.meet(bytes(40), True)
        assert mark.wanted == wanted
        assert marker.comments(mark) == ("", "")
        assert marker.name(mark) is None
