"""Streams: what one end says the other reads; what was changed, cut or played again is refused in words."""

import hashlib
import random

import pytest

from tests.unit.codecs.shadowsocks import (
    ADDRESS,
    NEW,
    NOW,
    OLD,
    V4,
    WITH_USERS,
    Clock,
    Ends,
    counted,
    keys_for,
    password,
)
from tests.unit.codecs.shadowsocks_fuzz import play_stream
from tests.unit.codecs.shadowsocks_recorded import ECHO, WORDS, Recorded, recordings
from tests.unit.codecs.streams import pieces
from tunproxy.codecs.shadowsocks_chunks import LENGTH_LEN
from tunproxy.codecs.shadowsocks_keys import METHODS, TAG_LEN, ShadowsocksError, client_keys
from tunproxy.codecs.shadowsocks_replay import SaltMemory
from tunproxy.codecs.shadowsocks_server import ShadowsocksServer
from tunproxy.codecs.shadowsocks_stream import (
    FIRST_WORDS,
    MAX_PADDING,
    ShadowsocksClient,
    clock_words,
)

EACH = [(method, 0) for method in METHODS] + [(method, 3) for method in WITH_USERS]
each = pytest.mark.parametrize(("method", "users"), EACH)
LOAD = hashlib.shake_128(b"load").digest(300_000)


@each
@pytest.mark.parametrize("size", [1, 7, 1000, 65_536])
def test_both_directions_arrive_however_they_are_cut(method: str, users: int, size: int) -> None:
    ends = Ends(method, users)
    load = LOAD if size > 100 else LOAD[:20_000]
    sent = ends.client.encode(load[:5000]) + ends.client.encode(memoryview(load)[5000:])
    assert b"".join(ends.server.decode(piece) for piece in pieces(sent, size)) == load
    target = ends.server.target
    assert target is not None
    assert (target.address, target.name, target.port) == (V4, "", 443)
    assert ends.server.user == ("user 0" if users else "")
    answer = ends.server.encode(load) + ends.server.encode(b"more")
    assert b"".join(ends.client.decode(piece) for piece in pieces(answer, size)) == load + b"more"
    assert ends.client.decode_end() == ends.server.decode_end() == b""
    assert ends.client.keeps() is ends.server.keeps() is False


@each
def test_pieces_go_out_in_a_row_and_small_ones_together(method: str, users: int) -> None:
    ends = Ends(method, users)
    load = [
        LOAD[:5],
        LOAD[5:9000],
        memoryview(LOAD)[9000:100_000],
        LOAD[100_000:200_000],
        LOAD[200_000:200_003],
    ]
    assert ends.server.decode(b"".join(ends.client.encode_pieces(list(load)))) == LOAD[:200_003]
    again = ends.client.encode_pieces(list(load))
    assert all(len(piece) > 0 for piece in again)
    assert ends.server.decode(b"".join(again)) == LOAD[:200_003]
    few = ends.client.encode_pieces([LOAD[at : at + 10] for at in range(0, 1000, 10)])
    assert len(few) == 2
    assert ends.server.decode(b"".join(few)) == LOAD[:1000]
    assert ends.client.encode_pieces([]) == []
    answer = ends.server.encode_pieces(list(load)) + ends.server.encode_pieces(list(load))
    assert ends.client.decode(b"".join(answer)) == LOAD[:200_003] * 2


@each
def test_target_goes_out_together_with_the_first_words(method: str, users: int) -> None:
    ends = Ends(method, users)
    assert ends.client.patience() == FIRST_WORDS
    assert ends.client.keeps()
    words = ends.client.encode(b"hello")
    assert ends.client.patience() == -1
    assert ends.client.flush() == b""
    assert ends.server.decode(words) == b"hello"
    assert ends.server.patience() == -1


@each
@pytest.mark.parametrize("how", ["flush", "end"])
def test_target_goes_out_alone_where_the_client_says_nothing(method: str, users: int, how: str) -> None:
    ends = Ends(method, users)
    words = getattr(ends.client, how)()
    assert ends.server.decode(words) == b""
    assert ends.server.target is not None
    assert ends.client.flush() == ends.client.end() == b""
    assert ends.server.decode(ends.client.encode(b"later")) == b"later"


@pytest.mark.parametrize("method", NEW)
def test_2022_request_without_payload_is_padded_by_chance(method: str) -> None:
    bare = len(Ends(method).client.encode(b"x")) - 1
    client = ShadowsocksClient(keys_for(method)[0], ADDRESS)
    sizes = {len(ShadowsocksClient(keys_for(method)[0], ADDRESS).flush()) - bare for _ in range(300)}
    assert min(sizes) >= 1
    assert max(sizes) <= MAX_PADDING
    assert len(sizes) > 100
    assert len(client.flush()) > bare


@each
def test_encrypted_streams_have_nothing_in_common(method: str, users: int) -> None:
    ends = Ends(method, users)
    one, other = ends.client.encode(b"hello" * 100), ends.new_client().encode(b"hello" * 100)
    assert len(one) == len(other)
    same = sum(a == b for a, b in zip(one[16:], other[16:], strict=True))
    assert same < len(one) // 10
    assert b"hello" not in one


@each
def test_any_bit_flipped_is_refused_and_nothing_wrong_passes(method: str, users: int) -> None:
    ends = Ends(method, users)
    sent = ends.client.encode(b"hello" * 20)
    ends.server.decode(sent)
    answer = ends.server.encode(b"world" * 20)
    for at in range(len(sent)):
        server = ShadowsocksServer(ends.server_keys, SaltMemory(is_2022=True), ends.clock, ends.random)
        with pytest.raises(ShadowsocksError, match=r"wrong password or method|changed on its way"):
            server.decode(flipped(sent, at))
        with pytest.raises(ShadowsocksError):
            server.decode(b"")
    for at in range(len(answer)):
        client = ShadowsocksClient(ends.keys, ADDRESS, None, ends.clock, counted(1000))
        client.encode(b"hello")
        with pytest.raises(ShadowsocksError, match=r"wrong password or method|changed on its way"):
            client.decode(flipped(answer, at))


def flipped(words: bytes, at: int) -> bytes:
    return words[:at] + bytes([words[at] ^ 1 << at % 8]) + words[at + 1 :]


@each
def test_stream_that_was_cut_within_a_chunk_is_refused(method: str, users: int) -> None:
    ends = Ends(method, users)
    sent = ends.client.encode(b"hello") + ends.client.encode(b"again")
    whole, told = set(), set()
    for size in range(1, len(sent) + 1):
        server = ShadowsocksServer(ends.server_keys, SaltMemory(is_2022=True), ends.clock, ends.random)
        server.decode(sent[:size])
        try:
            server.decode_end()
        except ShadowsocksError as error:
            told.add(str(error).partition(":")[0])
        else:
            whole.add(size)
    again = LENGTH_LEN + 5 + TAG_LEN
    assert whole == {len(sent) - again, len(sent)}
    assert told == {"truncated"}


@each
def test_client_takes_silence_for_a_wrong_password_unless_it_has_ended(method: str, users: int) -> None:
    for has_ended in (False, True):
        for ending in ("decode_end", "on_reset"):
            client = Ends(method, users).client
            client.encode(b"hello")
            if has_ended:
                client.end()
                getattr(client, ending)()
            else:
                with pytest.raises(ShadowsocksError, match="password, method or clock is wrong"):
                    getattr(client, ending)()


@each
def test_reset_after_an_answer_is_the_targets(method: str, users: int) -> None:
    ends = Ends(method, users)
    ends.meet()
    ends.client.decode(ends.server.encode(b"world"))
    ends.client.on_reset()


@pytest.mark.parametrize("method", METHODS)
def test_wrong_password_is_told_at_both_ends(method: str) -> None:
    ends = Ends(method)
    stranger = ShadowsocksClient(client_keys(method, password(method, 2)), ADDRESS, None, ends.clock)
    with pytest.raises(ShadowsocksError, match="wrong password or method"):
        ends.server.decode(stranger.encode(b"hello"))
    ends = Ends(method)
    ends.meet()
    with pytest.raises(ShadowsocksError, match="wrong password or method"):
        stranger.decode(ends.server.encode(b"world"))


@pytest.mark.parametrize("method", NEW)
def test_2022_answer_of_another_time_is_refused(method: str) -> None:
    ends = Ends(method)
    ends.meet()
    ends.server_clock.now = NOW - 95
    with pytest.raises(ShadowsocksError, match="clock differs by 95 s"):
        ends.client.decode(ends.server.encode(b"world"))


@pytest.mark.parametrize("method", NEW)
def test_2022_answer_to_somebody_else_is_refused(method: str) -> None:
    ends = Ends(method)
    other = ends.new_client()
    other.encode(b"hello")
    ends.meet()
    with pytest.raises(ShadowsocksError, match="another stream"):
        other.decode(ends.server.encode(b"world"))


@pytest.mark.parametrize("method", NEW)
def test_2022_own_words_that_come_back_are_refused(method: str) -> None:
    ends = Ends(method)
    sent = ends.client.encode(b"hello" * 100)
    with pytest.raises(ShadowsocksError):
        ends.client.decode(sent)
    assert ends.server.decode(sent) == b"hello" * 100
    with pytest.raises(ShadowsocksError):
        ends.new_server().decode(ends.server.encode(b"world"))


@pytest.mark.parametrize("method", NEW)
def test_2022_answer_that_was_heard_before_is_refused(method: str) -> None:
    ends = Ends(method)
    salts = SaltMemory(is_2022=True)
    words = []
    for _ in range(2):
        client = ShadowsocksClient(ends.keys, ADDRESS, salts, ends.clock, counted(5))
        words.append(client.encode(b"hello"))
        if len(words) == 1:
            ends.server.decode(words[0])
            answer = ends.server.encode(b"world")
            assert client.decode(answer) == b"world"
        else:
            with pytest.raises(ShadowsocksError, match="replayed session"):
                client.decode(answer)


@pytest.mark.parametrize("method", OLD)
def test_2017_answer_that_was_heard_before_is_refused_with_its_first_chunk(method: str) -> None:
    """SIP004 has no word for which stream an answer belongs to."""
    ends, salts = Ends(method), SaltMemory(is_2022=False)
    first, second, third = (ShadowsocksClient(ends.keys, ADDRESS, salts) for _ in range(3))
    ends.server.decode(first.encode(b"hello"))
    answer = ends.server.encode(b"world")
    assert first.decode(answer) == b"world"
    for client in (second, third):
        client.encode(b"hello")
        with pytest.raises(ShadowsocksError, match="replayed session"):
            client.decode(answer[: ends.method.key_len + LENGTH_LEN])


@pytest.mark.parametrize("method", OLD)
def test_2017_words_of_our_own_are_no_answer(method: str) -> None:
    ends, salts = Ends(method), SaltMemory(is_2022=False)
    first, second = (ShadowsocksClient(ends.keys, ADDRESS, salts) for _ in range(2))
    said = first.encode(b"hello")
    second.encode(b"hello")
    for client in (first, second):
        with pytest.raises(ShadowsocksError, match="replayed session"):
            client.decode(said)


@pytest.mark.parametrize("method", OLD)
def test_2017_salt_that_proves_nothing_is_not_remembered(method: str) -> None:
    ends, salts = Ends(method), SaltMemory(is_2022=False)
    forged, honest = (ShadowsocksClient(ends.keys, ADDRESS, salts) for _ in range(2))
    ends.server.decode(honest.encode(b"hello"))
    answer = ends.server.encode(b"world")
    forged.encode(b"hello")
    with pytest.raises(ShadowsocksError, match="wrong password"):
        forged.decode(answer[: ends.method.key_len] + bytes(100))
    assert honest.decode(answer) == b"world"


@pytest.mark.parametrize("method", OLD)
def test_2017_server_that_sends_a_salt_and_ends_has_said_nothing(method: str) -> None:
    ends = Ends(method)
    ends.client.encode(b"hello")
    assert ends.client.decode(bytes(ends.method.key_len)) == b""
    assert ends.client.decode_end() == b""
    assert ends.client.decode(b"\0") == b""
    with pytest.raises(ShadowsocksError, match="truncated"):
        ends.client.decode_end()


def test_clock_words_name_the_difference() -> None:
    assert clock_words(-95).startswith("clock differs by 95 s")


@each
def test_mutated_streams_are_refused_in_words_at_both_ends(method: str, users: int) -> None:
    chance = random.Random(f"{method} {users}")
    reasons = {play_stream(chance, method, users) for _ in range(2 * 20_000 // len(EACH))}
    assert len(reasons) > 5


@pytest.mark.parametrize("each", recordings(), ids=lambda each: f"{each.program}-{each.method}")
@pytest.mark.parametrize("size", [1, 1000])
def test_what_other_programs_said_to_each_other_is_understood(each: Recorded, size: int) -> None:
    clock = Clock(each.now)
    server = ShadowsocksServer(each.server_keys, SaltMemory(each.keys.method.is_2022), clock)
    assert b"".join(server.decode(piece) for piece in pieces(each.up, size)) == WORDS
    assert server.target is not None
    assert (server.target.address, server.target.port) == ECHO
    assert server.user == ("joe" if each.server_keys.users else "")
    server.decode_end()
    salt = each.up[: each.keys.method.key_len]  # the answer is to whoever began with this
    client = ShadowsocksClient(each.keys, ADDRESS, None, clock, lambda size: salt[:size])
    client.encode(b"hello")
    assert b"".join(client.decode(piece) for piece in pieces(each.down, size)) == WORDS
    client.decode_end()
