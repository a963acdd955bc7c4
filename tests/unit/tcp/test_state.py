"""The table of moves, and that real segments make each of them and no other (RFC 9293 §3.3.2, figure 5)."""

from collections.abc import Callable

import pytest

from tests.unit.tcp import builders
from tests.unit.tcp.builders import Script
from tunproxy.tcp import state
from tunproxy.tcp.connection import Connection
from tunproxy.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    NAMES,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
    TRANSITIONS,
    has_all_data,
    is_allowed,
)
from tunproxy.wire.tcp import ACK, FIN, RST, SYN

# For each move of the table, a connection in its first state, and what happens to it.
DRIVEN: dict[tuple[int, int], tuple[Callable[[], Connection], Callable[[Script], object]]] = {
    (SYN_SENT, ESTABLISHED): (builders.syn_sent, lambda p: p.sends_syn(seq=999, flags=SYN | ACK, ack=5000)),
    (SYN_RECEIVED, ESTABLISHED): (builders.syn_received, lambda p: p.sends()),
    (ESTABLISHED, FIN_WAIT_1): (builders.established, lambda p: p.closes()),
    (ESTABLISHED, CLOSE_WAIT): (builders.established, lambda p: p.sends(flags=ACK | FIN)),
    (CLOSE_WAIT, LAST_ACK): (builders.close_wait, lambda p: p.closes()),
    (FIN_WAIT_1, FIN_WAIT_2): (builders.fin_wait_1, lambda p: p.sends()),
    (FIN_WAIT_1, CLOSING): (builders.fin_wait_1, lambda p: p.sends(flags=ACK | FIN, ack=5000)),
    (FIN_WAIT_1, TIME_WAIT): (builders.fin_wait_1, lambda p: p.sends(flags=ACK | FIN)),
    (FIN_WAIT_2, TIME_WAIT): (builders.fin_wait_2, lambda p: p.sends(flags=ACK | FIN)),
    (CLOSING, TIME_WAIT): (builders.closing, lambda p: p.sends()),
    (LAST_ACK, CLOSED): (builders.last_ack, lambda p: p.sends()),
    (TIME_WAIT, CLOSED): (builders.time_wait, lambda p: p.waits()),
}


def move_name(move: tuple[int, int]) -> str:
    return f"{NAMES[move[0]]}-to-{NAMES[move[1]]}"


def test_every_transition_is_driven() -> None:
    assert set(DRIVEN) == {(before, after) for before, after, _ in TRANSITIONS}


@pytest.mark.parametrize("move", DRIVEN, ids=move_name)
def test_every_transition(move: tuple[int, int]) -> None:
    build, happens = DRIVEN[move]
    peer = Script(build())
    peer.expects_state(move[0])
    happens(peer)
    peer.expects_state(move[1])


@pytest.mark.parametrize("build", builders.EVERY_STATE.values(), ids=builders.EVERY_STATE)
def test_every_state_is_left_for_closed_by_a_reset(build: Callable[[], Connection]) -> None:
    peer = Script(build())
    peer.sends(flags=RST | ACK)
    peer.expects_state(CLOSED).expects_nothing_more()
    assert peer.deadline is None


@pytest.mark.parametrize("build", builders.EVERY_STATE.values(), ids=builders.EVERY_STATE)
def test_every_state_is_left_for_closed_by_an_abort(build: Callable[[], Connection]) -> None:
    peer = Script(build())
    peer.aborts()
    peer.expects_state(CLOSED)
    assert peer.deadline is None


def test_is_allowed_takes_the_table_and_every_move_to_closed() -> None:
    table = {(before, after) for before, after, _ in TRANSITIONS}
    for before in range(len(NAMES)):
        for after in range(len(NAMES)):
            assert is_allowed(before, after) == (after == CLOSED or (before, after) in table)


def test_has_all_data_names_the_states_behind_the_peers_fin() -> None:
    behind = {number for number in range(len(NAMES)) if has_all_data(number)}
    assert behind == {CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT}


def test_names_are_the_words_of_the_rfc() -> None:
    for number, name in enumerate(NAMES):
        assert getattr(state, name.replace("-", "_")) == number
