"""The headers of SOCKS 5 and Shadowsocks in front of datagrams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.datagram.socks_framing import AddressFraming, SocksFraming
from tunproxy.flow.framing import CUT_OFF, FRAGMENT, MAX_HEADER, UNKNOWN

V4 = bytes([192, 0, 2, 7])
V6 = bytes.fromhex("20010db8000000000000000000000007")
FRAMING = SocksFraming()


@pytest.mark.parametrize(
    ("target", "port", "host", "header"),
    [
        (V4, 53, "", "000000" + "01c0000207" + "0035"),
        (V6, 65535, "", "000000" + "04" + V6.hex() + "ffff"),
        (V4, 443, "www.example.org", "000000" + "030f" + b"www.example.org".hex() + "01bb"),
        (V4, 0x8081, "bücher.example", "000000" + "030e" + b"b?cher.example".hex() + "8081"),
        (V4, 53, "a" * 256, "000000" + "01c0000207" + "0035"),  # no such name: its address is all there is
    ],
)
def test_header_names_the_target(target: bytes, port: int, host: str, header: str) -> None:
    assert FRAMING.header_for(target, port, host).hex() == header


@given(
    st.sampled_from([V4, V6]),
    st.integers(0, 65535),
    st.text(st.sampled_from("abc.-"), max_size=255),
    st.binary(),
)
def test_header_and_payload_are_told_apart_again(target: bytes, port: int, host: str, payload: bytes) -> None:
    header = FRAMING.header_for(target, port, host)
    assert len(header) <= MAX_HEADER
    datagram = header + payload
    assert FRAMING.payload_off(datagram) == len(header)
    assert FRAMING.payload_off(datagram[:MAX_HEADER]) == len(header)
    for end in range(len(header)):
        assert FRAMING.payload_off(datagram[:end]) == CUT_OFF
    source = FRAMING.source_of(header)
    assert source is not None
    assert (source.address, source.name, source.port) == (b"" if host else target, host, port)


def test_reserved_octets_do_not_matter() -> None:
    assert FRAMING.payload_off(bytes.fromhex("ffff0001c00002070035")) == 10


@pytest.mark.parametrize("fragment", [1, 127, 128, 255])
def test_fragment_is_dropped(fragment: int) -> None:
    assert FRAMING.payload_off(bytes([0, 0, fragment]) + bytes.fromhex("01c00002070035") + b"x") == FRAGMENT


@pytest.mark.parametrize("kind", [0, 2, 5, 255])
def test_address_of_an_unknown_kind_is_dropped(kind: int) -> None:
    assert FRAMING.payload_off(bytes([0, 0, 0, kind]) + bytes(300)) == UNKNOWN


@given(st.binary(max_size=300))
def test_any_octets_give_an_offset_within_them_or_a_reason(data: bytes) -> None:
    offset = FRAMING.payload_off(data)
    assert offset <= len(data)
    if offset >= 0:
        assert FRAMING.source_of(data[:offset]) is not None
    else:
        assert offset in (CUT_OFF, FRAGMENT, UNKNOWN)


# an address alone


@given(
    st.sampled_from([V4, V6]),
    st.integers(0, 65535),
    st.text(st.sampled_from("abc.-"), max_size=255),
    st.binary(),
)
def test_address_alone_is_what_socks_has_behind_its_first_octets(
    target: bytes, port: int, host: str, payload: bytes
) -> None:
    bare = AddressFraming()
    header = bare.header_for(target, port, host)
    assert b"\0\0\0" + header == FRAMING.header_for(target, port, host)
    assert bare.payload_off(header + payload) == len(header)
    for end in range(len(header)):
        assert bare.payload_off(header[:end]) == CUT_OFF
    source, same = bare.source_of(header), FRAMING.source_of(b"\0\0\0" + header)
    assert source is not None
    assert same is not None
    assert (source.address, source.name, source.port) == (same.address, same.name, same.port)


@given(st.binary(max_size=300))
def test_any_octets_give_an_address_alone_or_a_reason(data: bytes) -> None:
    bare = AddressFraming()
    offset = bare.payload_off(data)
    assert offset <= len(data)
    if offset >= 0:
        assert bare.source_of(data[:offset]) is not None
    else:
        assert offset in (CUT_OFF, UNKNOWN)
