"""Datagrams: what one end seals the other opens; what was changed or played again is refused in words."""

import random

import pytest

from tests.unit.codecs.shadowsocks import (
    ADDRESS,
    NEW,
    NOW,
    V4,
    V6,
    WITH_USERS,
    Clock,
    PacketEnds,
    password,
)
from tests.unit.codecs.shadowsocks_fuzz import play_packet
from tests.unit.codecs.shadowsocks_recorded import ECHO, WORDS, Recorded, recordings
from tunproxy.codecs.shadowsocks_address import emit_address
from tunproxy.codecs.shadowsocks_keys import METHODS, ShadowsocksError, client_keys
from tunproxy.codecs.shadowsocks_packet import OLD_SESSION, PacketClient
from tunproxy.codecs.shadowsocks_packet_server import PacketServer

EACH = [(method, 0) for method in METHODS] + [(method, 3) for method in WITH_USERS]
each = pytest.mark.parametrize(("method", "users"), EACH)


@each
@pytest.mark.parametrize(("target", "host"), [(V4, ""), (V6, ""), (V4, "www.example.org")])
@pytest.mark.parametrize("size", [0, 1, 1200, 60_000])
def test_question_and_answer_arrive(method: str, users: int, target: bytes, host: str, size: int) -> None:
    ends = PacketEnds(method, users)
    address = emit_address(target, 53, host)
    payload = bytes(range(256)) * 256
    for _ in range(3):
        words = ends.client.seal(address, memoryview(payload)[:size])
        assert len(words) == len(address) + size + ends.client.overhead
        session, asked, read = ends.server.open(words)
        assert (asked.address, asked.name, asked.port) == (b"" if host else target, host, 53)
        assert read == payload[:size]
        assert session.user == ("user 0" if users else "")
        source, heard = ends.client.open(ends.server.seal(session, emit_address(target, 53), read))
        assert (source.address, source.port, heard) == (target, 53, read)


@each
def test_any_bit_flipped_is_refused_and_changes_nothing(method: str, users: int) -> None:
    ends = PacketEnds(method, users)
    sent = ends.client.seal(ADDRESS, b"hello")
    for at in range(len(sent)):
        with pytest.raises(ShadowsocksError):
            ends.server.open(sent[:at] + bytes([sent[at] ^ 4]) + sent[at + 1 :])
        with pytest.raises(ShadowsocksError):
            ends.server.open(sent[:at])
    assert len(ends.server) == 0
    session, _, _ = ends.server.open(sent)
    answer = ends.server.seal(session, ADDRESS, b"world")
    for at in range(len(answer)):
        with pytest.raises(ShadowsocksError):
            ends.client.open(answer[:at] + bytes([answer[at] ^ 4]) + answer[at + 1 :])
        with pytest.raises(ShadowsocksError):
            ends.client.open(answer[:at])
    assert ends.client.open(answer)[1] == b"world"


@each
def test_datagram_that_comes_again_is_refused(method: str, users: int) -> None:
    ends = PacketEnds(method, users)
    sent = [ends.client.seal(ADDRESS, b"hello %d" % at) for at in range(50)]
    random.Random(3).shuffle(sent)
    for words in sent:
        ends.server.open(words)
    for words in sent:
        with pytest.raises(ShadowsocksError, match="replayed datagram"):
            ends.server.open(words)


@pytest.mark.parametrize("method", NEW)
def test_2022_answer_that_comes_again_is_refused(method: str) -> None:
    ends = PacketEnds(method)
    session, _, _ = ends.server.open(ends.client.seal(ADDRESS, b"hello"))
    answer = ends.server.seal(session, ADDRESS, b"world")
    assert ends.client.open(answer)[1] == b"world"
    with pytest.raises(ShadowsocksError, match="replayed datagram"):
        ends.client.open(answer)


@pytest.mark.parametrize("method", METHODS)
def test_wrong_password_is_told(method: str) -> None:
    ends = PacketEnds(method)
    stranger = PacketClient(client_keys(method, password(method, 2)), ends.clock)
    with pytest.raises(ShadowsocksError, match="wrong password or method"):
        ends.server.open(stranger.seal(ADDRESS, b"hello"))
    session, _, _ = ends.server.open(ends.client.seal(ADDRESS, b"hello"))
    with pytest.raises(ShadowsocksError, match="wrong password or method"):
        stranger.open(ends.server.seal(session, ADDRESS, b"world"))


@pytest.mark.parametrize("method", NEW)
@pytest.mark.parametrize("skew", [31, -31, 95])
def test_2022_datagram_of_another_time_is_refused(method: str, skew: int) -> None:
    ends = PacketEnds(method)
    ends.clock.now = NOW + skew
    sent = ends.client.seal(ADDRESS, b"hello")
    ends.clock.now = NOW
    with pytest.raises(ShadowsocksError, match=f"clock differs by {abs(skew)} s"):
        ends.server.open(sent)
    session, _, _ = ends.server.open(ends.client.seal(ADDRESS, b"hello"))
    ends.clock.now = NOW + skew
    answer = ends.server.seal(session, ADDRESS, b"world")
    ends.clock.now = NOW
    with pytest.raises(ShadowsocksError, match=f"clock differs by {abs(skew)} s"):
        ends.client.open(answer)


@pytest.mark.parametrize("method", NEW)
def test_2022_answer_to_another_session_is_refused(method: str) -> None:
    ends = PacketEnds(method)
    session, _, _ = ends.server.open(ends.new_client().seal(ADDRESS, b"hello"))
    with pytest.raises(ShadowsocksError, match="another session"):
        ends.client.open(ends.server.seal(session, ADDRESS, b"world"))


@pytest.mark.parametrize("method", NEW)
def test_2022_own_datagram_that_comes_back_is_refused(method: str) -> None:
    ends = PacketEnds(method)
    with pytest.raises(ShadowsocksError):
        ends.client.open(ends.client.seal(ADDRESS, b"hello" * 20))
    session, _, _ = ends.server.open(ends.client.seal(ADDRESS, b"hello"))
    with pytest.raises(ShadowsocksError):
        ends.server.open(ends.server.seal(session, ADDRESS, b"world" * 20))


@pytest.mark.parametrize("method", NEW)
def test_2022_server_that_starts_again_is_heard_and_one_that_does_so_all_the_time_is_not(method: str) -> None:
    ends = PacketEnds(method)

    def answer() -> bytes:
        server = PacketServer(ends.server_keys, ends.clock, ends.random)
        session, _, _ = server.open(ends.client.seal(ADDRESS, b"hello"))
        return server.seal(session, ADDRESS, b"world")

    assert ends.client.open(answer())[1] == b"world"
    assert ends.client.open(answer())[1] == b"world"
    with pytest.raises(ShadowsocksError, match="one session after the other"):
        ends.client.open(answer())
    ends.clock.now += OLD_SESSION
    assert ends.client.open(answer())[1] == b"world"


@each
def test_mutated_datagrams_are_refused_in_words_at_both_ends(method: str, users: int) -> None:
    chance = random.Random(f"{method} {users}")
    reasons = {play_packet(chance, method, users) for _ in range(2 * 20_000 // len(EACH))}
    assert len(reasons) > 3


@pytest.mark.parametrize("each", recordings(), ids=lambda each: f"{each.program}-{each.method}")
def test_what_other_programs_said_to_each_other_is_understood(each: Recorded) -> None:
    clock = Clock(each.now)
    server = PacketServer(each.server_keys, clock)
    session, target, payload = server.open(each.datagram_up)
    assert (target.address, target.port, payload) == (*ECHO, WORDS)
    assert session.user == ("joe" if each.server_keys.users else "")
    client = PacketClient(each.keys, clock, lambda size: session.id[:size])
    source, payload = client.open(each.datagram_down)
    assert (source.address, source.port, payload) == (*ECHO, WORDS)
