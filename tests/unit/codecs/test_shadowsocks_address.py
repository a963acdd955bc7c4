"""Addresses in the form of SOCKS 5."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.codecs.shadowsocks import V4, V6
from tunproxy.codecs.shadowsocks_address import MAX_ADDRESS, address_end, emit_address, parse_address
from tunproxy.codecs.shadowsocks_keys import ShadowsocksError

EACH = [(V4, ""), (V6, ""), (V4, "www.example.org"), (V4, "x" * 255)]


@pytest.mark.parametrize(("target", "host"), EACH)
def test_address_is_read_as_it_was_written_wherever_it_stands(target: bytes, host: str) -> None:
    words = emit_address(target, 8443, host)
    assert len(words) <= MAX_ADDRESS
    data = b"before" + words + b"behind"
    end = address_end(data, 6)
    assert data[end:] == b"behind"
    found = parse_address(data, 6, end)
    assert (found.address, found.name, found.port) == (b"" if host else target, host, 8443)


@pytest.mark.parametrize(("target", "host"), EACH)
def test_cut_address_waits_for_more(target: bytes, host: str) -> None:
    words = emit_address(target, 80, host)
    assert [address_end(words[:size]) for size in range(len(words))] == [-1] * len(words)


@pytest.mark.parametrize("words", [b"\x00abc", b"\x02", b"\xff" + bytes(300), b"\x03\x00\x00\x50"])
def test_address_of_no_kind_is_refused(words: bytes) -> None:
    with pytest.raises(ShadowsocksError, match="target is"):
        address_end(words)


def test_name_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ShadowsocksError, match="256 octets"):
        emit_address(V4, 80, "x" * 256)


@given(st.binary(max_size=300), st.integers(0, 40))
def test_any_octets_are_an_address_or_refused_or_too_few(data: bytes, at: int) -> None:
    try:
        end = address_end(data, at)
    except ShadowsocksError:
        return
    assert end == -1 or at < end <= len(data)
    if end > 0:
        parse_address(data, at, end)
