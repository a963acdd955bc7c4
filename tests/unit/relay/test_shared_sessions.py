"""A session is in one worker; what it has taken is known to whoever takes its place."""

import os
import signal

import pytest

from tests.unit.relay.children import in_a_child, in_children
from tunproxy.codecs.shadowsocks_keys import ShadowsocksError
from tunproxy.codecs.shadowsocks_replay import KEPT
from tunproxy.codecs.shadowsocks_sessions import ElsewhereError
from tunproxy.relay.shared_sessions import PLACES, ROOM, SharedSessions

NOW = 1e9
SESSION = b"session!"


@pytest.fixture
def memory() -> SharedSessions:
    return SharedSessions(120.0)


def owner(memory: SharedSessions, session: bytes, now: float = NOW) -> int:
    """Return which other worker has a session; -1: nobody, or we."""
    try:
        memory.check(session, now)
    except ElsewhereError as elsewhere:
        return elsewhere.owner
    return -1


def be(memory: SharedSessions, number: int) -> SharedSessions:
    memory.number = number
    return memory


def test_session_is_one_workers_and_the_others_are_told_whose(memory: SharedSessions) -> None:
    def other() -> bool:
        assert owner(be(memory, 3), SESSION) == -1
        memory.claim(SESSION, NOW).note(41, NOW)
        return True

    assert in_a_child(other)
    assert owner(memory, SESSION) == 3
    with pytest.raises(ElsewhereError):
        memory.claim(SESSION, NOW)
    assert owner(memory, b"another!") == -1
    assert be(memory, 3).claim(SESSION, NOW).reached() == 41  # the next one with that number
    memory.close()


def test_session_that_is_new_has_reached_nothing(memory: SharedSessions) -> None:
    claim = memory.claim(SESSION, NOW)
    assert claim.reached() == -1
    for highest in (0, 7, (1 << 64) - 2):
        claim.note(highest, NOW)
        assert memory.claim(SESSION, NOW).reached() == highest
    claim.note((1 << 64) - 1, NOW)  # the last one: there is no word for it, and nothing behind it
    memory.close()


@pytest.mark.parametrize(("wanted", "kept"), [(300.0, 300.0), (5.0, KEPT)])
def test_silent_session_is_kept_for_as_long_as_its_datagrams_may_be_believed(
    wanted: float, kept: float
) -> None:
    memory = SharedSessions(wanted)
    memory.claim(SESSION, NOW - 9).note(41, NOW)
    be(memory, 1)
    assert owner(memory, SESSION, NOW + kept - 1) == 0
    assert owner(memory, SESSION, NOW + kept) == -1
    assert memory.claim(SESSION, NOW + kept).reached() == -1
    memory.close()


def test_session_that_talks_is_kept_and_one_that_was_lost_is_told(memory: SharedSessions) -> None:
    claim = memory.claim(SESSION, NOW)
    for later in range(0, 1000, 50):
        claim.note(later, NOW + later)
    be(memory, 1)
    assert owner(memory, SESSION, NOW + 1000) == 0
    memory.claim(SESSION, NOW + 2000).note(5, NOW + 2000)
    be(memory, 0)
    with pytest.raises(ElsewhereError):
        claim.note(6, NOW + 2001)
    assert be(memory, 1).claim(SESSION, NOW + 2001).reached() == 5
    memory.close()


def test_clock_that_is_set_back_forgets_nothing(memory: SharedSessions) -> None:
    memory.claim(SESSION, NOW).note(5, NOW)
    be(memory, 1)
    assert owner(memory, SESSION, NOW - 3600) == 0
    assert owner(memory, SESSION, NOW - 3600 + 119) == 0
    assert owner(memory, SESSION, NOW - 3600 + 121) == -1
    memory.close()


def test_memory_has_room_for_all_that_there_may_be_and_then_refuses() -> None:
    memory = SharedSessions(120.0, most=PLACES * 64)
    sessions = [number.to_bytes(8, "big") for number in range(PLACES * 64 * ROOM * 2)]
    claims = []
    refused = 0
    for number, session in enumerate(sessions):
        try:
            claims.append(memory.claim(session, NOW))
        except ShadowsocksError:
            assert number > PLACES * 32  # buckets are filled unevenly, and anew in each run
            refused += 1
    assert refused >= len(sessions) // 2
    with pytest.raises(ShadowsocksError, match="as many sessions as may be remembered"):
        claim_more(memory)
    for number, claim in enumerate(claims):
        claim.note(number, NOW)
    assert [claim.reached() for claim in claims] == list(range(len(claims)))  # no place is two sessions'
    memory.close()


def claim_more(memory: SharedSessions) -> None:
    for number in range(100_000):
        memory.claim(b"more" + number.to_bytes(4, "big"), NOW)


def test_of_many_workers_at_once_one_has_each_session() -> None:
    memory = SharedSessions(120.0)
    sessions = [number.to_bytes(8, "big") for number in range(2000)]

    def taken_by(number: int) -> int:
        return sum(owner(be(memory, number), each) < 0 and has(memory, each) for each in sessions)

    assert sum(in_children(4, taken_by)) == len(sessions)
    memory.close()


def has(memory: SharedSessions, session: bytes) -> bool:
    """Claim a session; return whether it was had."""
    try:
        memory.claim(session, NOW)
    except ElsewhereError:
        return False
    return True


def test_who_dies_with_the_lock_lets_go_of_it_and_leaves_no_half_a_session(memory: SharedSessions) -> None:
    pid = os.fork()
    if pid == 0:
        memory._find = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,assign]
        memory.claim(SESSION, NOW)
        os._exit(0)
    os.waitpid(pid, 0)
    assert owner(be(memory, 1), SESSION) == -1
    assert memory.claim(SESSION, NOW).reached() == -1
    memory.close()
