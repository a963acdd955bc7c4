"""Server names in ClientHellos that OpenSSL wrote, whole, in pieces, and broken."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.decide.sniff_tls import server_name_in_hello, server_name_in_records


def hello(name: str | None, alpn: list[str] | None = None) -> bytes:
    """Return the first record that OpenSSL sends to a server of this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(arrived, leaving, server_hostname=name).do_handshake()
    return leaving.read()


def in_records(message: bytes, size: int) -> bytes:
    """Return a handshake message in records of at most size octets."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


@pytest.mark.parametrize("name", ["www.example.org", "a.b", "x" * 63 + ".example"])
@pytest.mark.parametrize("alpn", [None, ["h2", "http/1.1"]])
def test_name_is_found(name: str, alpn: list[str] | None) -> None:
    assert server_name_in_records(hello(name, alpn)) == name


def test_hello_without_a_name_has_none() -> None:
    assert server_name_in_records(hello(None)) == ""


def test_part_of_a_hello_needs_more() -> None:
    data = hello("www.example.org")
    assert {server_name_in_records(data[:at]) for at in range(len(data))} == {None}


@pytest.mark.parametrize("size", [1, 3, 50, 200])
def test_hello_in_several_records_is_put_together(size: int) -> None:
    data = in_records(hello("www.example.org")[5:], size)
    assert server_name_in_records(data) == "www.example.org"
    assert server_name_in_records(data[:-1]) is None


def test_octets_behind_the_hello_do_not_matter() -> None:
    assert server_name_in_records(hello("www.example.org") + b"\x17\x03\x03junk") == "www.example.org"


@pytest.mark.parametrize(
    "data",
    [b"\x16\x02\x00\x00\x05hello", b"\x15\x03\x01\x00\x02\x01\x00", b"\x16\x03\x01\x00\x00",
     b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", b"\x16\x03\x01\x00\x04\x01\xff\xff\xff"],
)  # fmt: skip
def test_what_is_no_hello_has_no_name(data: bytes) -> None:
    assert server_name_in_records(data) == ""


@given(st.binary(max_size=300))
def test_any_octets_have_an_answer(data: bytes) -> None:
    server_name_in_records(data)
    server_name_in_hello(b"\x01" + len(data).to_bytes(3, "big") + data)


@given(st.data())
def test_mutated_hello_has_an_answer(data: st.DataObject) -> None:
    mutated = bytearray(hello("www.example.org"))
    for _ in range(data.draw(st.integers(1, 5))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    server_name_in_records(bytes(mutated))
