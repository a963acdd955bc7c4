"""What a server of one process asks, and how one that is not alone uses the answers."""

import pytest

from tests.unit.codecs.shadowsocks import ADDRESS, NEW, PacketEnds, server_of
from tunproxy.codecs.shadowsocks_keys import ShadowsocksError
from tunproxy.codecs.shadowsocks_sessions import Claim, ElsewhereError, SessionMemory


class Theirs(SessionMemory):
    """A memory in which sessions are in process 7, or in none, or were ours up to a number."""

    def __init__(self) -> None:
        self.owner = -1
        self.reached = -1
        self.notes: list[int] = []

    def check(self, session: bytes, now: float) -> None:
        if self.owner >= 0:
            raise ElsewhereError(self.owner)

    def claim(self, session: bytes, now: float) -> Claim:
        self.check(session, now)
        return Noted(self)


class Noted(Claim):
    def __init__(self, memory: Theirs) -> None:
        self._memory = memory

    def reached(self) -> int:
        return self._memory.reached

    def note(self, highest: int, now: float) -> None:
        self._memory.notes.append(highest)


def test_server_of_one_process_has_all_sessions() -> None:
    memory = SessionMemory()
    memory.check(b"s" * 8, 1e9)
    assert memory.claim(b"s" * 8, 1e9).reached() == -1


@pytest.mark.parametrize("method", NEW)
def test_datagram_of_a_session_that_is_elsewhere_is_told_of_and_changes_nothing(method: str) -> None:
    ends, memory = PacketEnds(method), Theirs()
    server = server_of(ends, memory)
    datagram = ends.client.seal(ADDRESS, b"hello")
    memory.owner = 7
    with pytest.raises(ElsewhereError, match="process 7") as raised:
        server.open(datagram)
    assert (raised.value.owner, len(server), memory.notes) == (7, 0, [])
    memory.owner = -1
    assert server.open(datagram)[2] == b"hello"


@pytest.mark.parametrize("method", NEW)
def test_session_of_a_process_that_is_gone_goes_on_behind_what_it_had_taken(method: str) -> None:
    ends, memory = PacketEnds(method), Theirs()
    said = [ends.client.seal(ADDRESS, b"hello") for _ in range(5)]
    memory.reached = 2
    server = server_of(ends, memory)
    for datagram in said[:3]:
        with pytest.raises(ShadowsocksError, match="replayed"):
            server.open(datagram)
    assert [server.open(datagram)[2] for datagram in said[3:]] == [b"hello"] * 2
    assert memory.notes == [3, 4]


@pytest.mark.parametrize("method", NEW)
def test_what_is_noted_is_the_highest_number(method: str) -> None:
    ends, memory = PacketEnds(method), Theirs()
    said = [ends.client.seal(ADDRESS, b"hello") for _ in range(4)]
    server = server_of(ends, memory)
    for at in (2, 0, 3, 1):
        session = server.open(said[at])[0]
    assert memory.notes == [2, 2, 3, 3]
    server.keep(session)
    assert memory.notes == [2, 2, 3, 3, 3]
    server.forget(session)
    server.keep(session)
    assert memory.notes == [2, 2, 3, 3, 3]
