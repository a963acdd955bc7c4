"""The server's end of datagrams: whose they are, and how long that is known."""

import pytest

from tests.unit.codecs.shadowsocks import (
    ADDRESS,
    NEW,
    NOW,
    OLD,
    WITH_USERS,
    PacketEnds,
    password,
)
from tunproxy.codecs import shadowsocks_packet_server
from tunproxy.codecs.shadowsocks_keys import METHODS, ShadowsocksError, client_keys
from tunproxy.codecs.shadowsocks_packet import PacketClient

EACH = [(method, 0) for method in METHODS] + [(method, 3) for method in WITH_USERS]

each = pytest.mark.parametrize(("method", "users"), EACH)


@pytest.mark.parametrize("method", WITH_USERS)
def test_user_that_nobody_knows_is_refused(method: str) -> None:
    ends = PacketEnds(method, 2)
    for secret in (f"{password(method)}:{password(method, 99)}", password(method)):
        stranger = PacketClient(client_keys(method, secret), ends.clock)
        with pytest.raises(ShadowsocksError, match="nobody known"):
            ends.server.open(stranger.seal(ADDRESS, b"hello" * 10))


@pytest.mark.parametrize("method", NEW)
def test_2022_session_is_one_object_until_it_is_forgotten(method: str) -> None:
    ends = PacketEnds(method)
    session, _, _ = ends.server.open(ends.client.seal(ADDRESS, b"one"))
    assert ends.server.open(ends.client.seal(ADDRESS, b"two"))[0] is session
    assert session.last_at == NOW
    other = ends.server.open(ends.new_client().seal(ADDRESS, b"three"))[0]
    assert (other is session, len(ends.server)) == (False, 2)
    ends.server.forget(session)
    ends.server.forget(session)
    assert len(ends.server) == 1
    assert ends.server.open(ends.client.seal(ADDRESS, b"four"))[0] is not session


@pytest.mark.parametrize("method", NEW)
def test_2022_silent_sessions_are_forgotten_and_talking_ones_kept(method: str) -> None:
    ends = PacketEnds(method)
    silent, talking = ends.new_client(), ends.new_client()
    for client in (talking, silent):
        ends.server.open(client.seal(ADDRESS, b"hello"))
    ends.clock.now = NOW + 20
    kept = ends.server.open(talking.seal(ADDRESS, b"hello"))[0]
    ends.server.forget_before(NOW + 10)
    assert len(ends.server) == 1
    assert ends.server.open(talking.seal(ADDRESS, b"hello"))[0] is kept


def test_2022_sessions_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadowsocks_packet_server, "MOST_SESSIONS", 10)
    ends = PacketEnds(NEW[0])
    first = ends.server.open(ends.client.seal(ADDRESS, b"hello"))[0]
    for _ in range(20):
        ends.server.open(ends.new_client().seal(ADDRESS, b"hello"))
        assert ends.server.open(ends.client.seal(ADDRESS, b"hello"))[0] is first, "who talks is kept"
    assert len(ends.server) == 10


@pytest.mark.parametrize("method", WITH_USERS)
def test_2022_user_cannot_speak_in_the_session_of_another(method: str) -> None:
    ends = PacketEnds(method, 2)
    ends.server.open(ends.client.seal(ADDRESS, b"hello"))
    secret = f"{password(method)}:{password(method, 11)}"
    thief = PacketClient(client_keys(method, secret), ends.clock, lambda size: ends.client.session[:size])
    assert thief.session == ends.client.session
    with pytest.raises(ShadowsocksError, match="session of another"):
        ends.server.open(thief.seal(ADDRESS, b"hello"))


@pytest.mark.parametrize("method", OLD)
def test_2017_clients_are_told_apart_by_their_address_alone(method: str) -> None:
    ends = PacketEnds(method)
    one = ends.server.open(ends.client.seal(ADDRESS, b"hello"))[0]
    other = ends.server.open(ends.new_client().seal(ADDRESS, b"hello"))[0]
    assert one is other
    assert (one.id, len(ends.server)) == (b"", 0)
