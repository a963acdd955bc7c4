"""Datagrams in pieces: heads, bodies, and the little that stands between."""

import pytest

from tests.unit.codecs.shadowsocks import ADDRESS, NEW, NOW, OLD, Clock
from tunproxy.codecs.shadowsocks_boxes import (
    HEAD_LEN,
    SESSION_LEN,
    Box,
    Sender,
    check_time,
    checked_end,
    seal_2017,
    stamp_of,
    unseal_2017,
    xor,
)
from tunproxy.codecs.shadowsocks_keys import TAG_LEN, ShadowsocksError, method_named

SESSION = bytes(range(SESSION_LEN))
HEAD = SESSION + (7).to_bytes(8, "big")


@pytest.mark.parametrize("name", NEW)
def test_head_and_body_come_out_of_the_box_as_they_went_in(name: str) -> None:
    method = method_named(name)
    box = Box(method, bytes(method.key_len))
    aead = box.aead(SESSION)
    assert (aead is None) is not method.is_aes
    if aead is None:
        datagram = box.seal_whole(bytes, HEAD, b"body")
    else:
        datagram = box.encrypt_head(HEAD) + b"between" + aead.encrypt(HEAD[4:], b"body", None)
    session, number, sealed = box.split(datagram, 0 if aead is None else len(b"between"))
    assert (session, number) == (SESSION, 7)
    assert Sender(session, aead).open(sealed, session, number) == b"body"


@pytest.mark.parametrize("name", NEW)
def test_datagram_without_room_for_a_head_is_truncated(name: str) -> None:
    method = method_named(name)
    box = Box(method, bytes(method.key_len))
    for size in range(HEAD_LEN + TAG_LEN):
        with pytest.raises(ShadowsocksError, match="truncated"):
            box.split(bytes(size), 0)


@pytest.mark.parametrize("name", OLD)
def test_2017_datagram_has_its_own_key(name: str) -> None:
    method = method_named(name)
    key, salt = bytes(method.key_len), b"\1" * method.key_len
    datagram = seal_2017(method, key, salt, ADDRESS, memoryview(b"hello"))
    assert unseal_2017(method, key, datagram) == (salt, ADDRESS + b"hello")
    with pytest.raises(ShadowsocksError, match="truncated"):
        unseal_2017(method, key, datagram[: method.key_len + TAG_LEN - 1])
    with pytest.raises(ShadowsocksError, match="wrong password"):
        unseal_2017(method, key, datagram[:-1])


def test_address_must_be_whole() -> None:
    assert checked_end(b"xx" + ADDRESS + b"payload", 2) == 2 + len(ADDRESS)
    with pytest.raises(ShadowsocksError, match="truncated"):
        checked_end(ADDRESS[:-1], 0)


@pytest.mark.parametrize(
    ("skew", "is_refused"), [(0, False), (30, False), (-30, False), (31, True), (-31, True)]
)
def test_time_may_differ_by_thirty_seconds(skew: int, is_refused: bool) -> None:
    stamp = stamp_of(Clock(NOW + skew))
    if is_refused:
        with pytest.raises(ShadowsocksError, match="clock differs by 31 s"):
            check_time(stamp, Clock())
    else:
        check_time(stamp, Clock())


def test_xor_keeps_zeroes_in_front() -> None:
    assert xor(b"\0\1\2", b"\0\1\3") == b"\0\0\1"
