"""The server's end of a stream: whom it believes, and what it takes for a request."""

import hashlib

import pytest

from tests.unit.codecs.shadowsocks import (
    ADDRESS,
    NEW,
    NOW,
    OLD,
    V4,
    V6,
    WITH_USERS,
    Ends,
    keys_for,
    password,
)
from tunproxy.codecs.shadowsocks_address import emit_address
from tunproxy.codecs.shadowsocks_chunks import Sealer
from tunproxy.codecs.shadowsocks_keys import METHODS, ShadowsocksError, client_keys
from tunproxy.codecs.shadowsocks_stream import (
    FROM_CLIENT,
    FROM_SERVER,
    ShadowsocksClient,
)

EACH = [(method, 0) for method in METHODS] + [(method, 3) for method in WITH_USERS]

each = pytest.mark.parametrize(("method", "users"), EACH)

LOAD = hashlib.shake_128(b"load").digest(300_000)


@each
@pytest.mark.parametrize(("target", "host"), [(V6, ""), (V4, "www.example.org"), (V4, "x" * 255)])
def test_target_is_what_the_client_asked_for(method: str, users: int, target: bytes, host: str) -> None:
    ends = Ends(method, users)
    client = ends.new_client(emit_address(target, 80, host))
    assert ends.server.decode(client.encode(b"hello")) == b"hello"
    found = ends.server.target
    assert found is not None
    assert (found.address, found.name, found.port) == (b"" if host else target, host, 80)


def test_server_that_hears_nothing_has_nothing_to_complain_of() -> None:
    ends = Ends(METHODS[0])
    assert ends.server.decode_end() == b""
    ends.server.on_reset()


@pytest.mark.parametrize("method", WITH_USERS)
def test_user_that_nobody_knows_is_refused(method: str) -> None:
    ends = Ends(method, 2)
    for secret in (f"{password(method)}:{password(method, 99)}", password(method)):
        stranger = ShadowsocksClient(client_keys(method, secret), ADDRESS, None, ends.clock)
        with pytest.raises(ShadowsocksError, match="nobody known"):
            ends.new_server().decode(stranger.encode(b"hello" * 10))


@pytest.mark.parametrize("method", METHODS)
def test_recorded_session_is_refused(method: str) -> None:
    ends = Ends(method)
    sent = ends.client.encode(b"hello")
    assert ends.new_server().decode(sent) == b"hello"
    for _ in range(2):
        with pytest.raises(ShadowsocksError, match="replayed session"):
            ends.new_server().decode(sent)
    assert ends.new_server().decode(ends.new_client().encode(b"hello")) == b"hello"


@pytest.mark.parametrize("method", NEW)
def test_2022_session_recorded_long_ago_is_refused(method: str) -> None:
    ends = Ends(method)
    sent = ends.client.encode(b"hello")
    for skew, words in ((31, "31 s"), (95, "95 s"), (3600, "3600 s"), (-31, "31 s")):
        ends.server_clock.now = NOW + skew
        with pytest.raises(ShadowsocksError, match=f"clock differs by {words}"):
            ends.new_server().decode(sent)
    ends.server_clock.now = NOW + 30
    assert ends.new_server().decode(sent) == b"hello"


@pytest.mark.parametrize("method", NEW)
@pytest.mark.parametrize(
    ("head", "why"),
    [
        (ADDRESS, "ends within"),
        (ADDRESS + b"\0", "ends within"),
        (ADDRESS + b"\0\0", "neither payload nor padding"),
        (ADDRESS + b"\0\x05abcd", "padding is longer"),
        (ADDRESS[:-1], "ends within"),
        (b"", "ends within"),
        (b"\x09" + ADDRESS, "unknown kind"),
    ],
)
def test_2022_request_that_breaks_the_format_is_refused(method: str, head: bytes, why: str) -> None:
    with pytest.raises(ShadowsocksError, match=why):
        Ends(method).server.decode(request(method, head))


def request(method: str, head: bytes, kind: bytes = FROM_CLIENT) -> bytes:
    """Return a request with a header of any content, sealed as it should be."""
    keys = keys_for(method)[0]
    salt = bytes(range(keys.method.key_len))
    sealer = Sealer(keys.method, keys.method.subkey(keys.key, salt))
    fixed = kind + int(NOW).to_bytes(8, "big") + len(head).to_bytes(2, "big")
    return salt + sealer.seal(fixed) + sealer.seal(head)


@pytest.mark.parametrize("method", NEW)
def test_2022_request_of_another_type_is_refused(method: str) -> None:
    assert Ends(method).server.decode(request(method, ADDRESS + b"\0\0hello")) == b"hello"
    for kind in (FROM_SERVER, b"\x02", b"\xff"):
        with pytest.raises(ShadowsocksError, match="no client's request"):
            Ends(method).server.decode(request(method, ADDRESS + b"\0\0hello", kind))


@pytest.mark.parametrize("method", OLD)
def test_2017_chunk_over_the_limit_is_refused(method: str) -> None:
    keys = keys_for(method)[0]
    salt = bytes(keys.method.key_len)
    sealer = Sealer(keys.method, keys.method.subkey(keys.key, salt))
    with pytest.raises(ShadowsocksError, match="16384 octets, where 16383"):
        Ends(method).server.decode(salt + sealer.seal(b"\x40\x00"))


@pytest.mark.parametrize("method", OLD)
def test_2017_target_may_come_in_several_chunks(method: str) -> None:
    keys = keys_for(method)[0]
    salt = bytes(keys.method.key_len)
    sealer = Sealer(keys.method, keys.method.subkey(keys.key, salt))
    out: list[bytes | memoryview] = [salt]
    for at in range(len(ADDRESS)):
        sealer.seal_chunks(ADDRESS[at : at + 1], 0, out)
    sealer.seal_chunks(b"hello", 0, out)
    server = Ends(method).server
    heard = [server.decode(bytes(piece)) for piece in out]
    assert b"".join(heard) == b"hello"
    assert server.target is not None
    server = Ends(method).server
    server.decode(b"".join(out[:5]))
    with pytest.raises(ShadowsocksError, match="truncated: the stream ends within the target"):
        server.decode_end()


@each
def test_server_says_nothing_before_it_was_asked(method: str, users: int) -> None:
    with pytest.raises(ShadowsocksError, match="before the client has asked"):
        Ends(method, users).server.encode(b"hello")


@each
def test_server_whose_target_says_nothing_says_nothing(method: str, users: int) -> None:
    ends = Ends(method, users)
    ends.meet()
    assert ends.server.encode(b"") == ends.server.flush() == ends.server.end() == b""
