"""Server names in Initial packets that another implementation of QUIC wrote."""

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicProtocolVersion
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.decide.sniff_quic import MAX_DATAGRAMS, QuicReader, is_quic_initial

VERSIONS = [QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2]


def datagrams(name: str, version: int = VERSIONS[0], padding: int = 0) -> list[bytes]:
    """Return the first flight of a client; padding makes its ClientHello longer by so many octets."""
    configuration = QuicConfiguration(
        is_client=True,
        server_name=name,
        alpn_protocols=["h3", *("p" * 200 for _ in range(padding // 200))],
        original_version=version,
        supported_versions=[version],
    )
    client = QuicConnection(configuration=configuration)
    client.connect(("192.0.2.1", 443), now=0.0)
    return [data for data, _ in client.datagrams_to_send(now=0.0)]


def read(flight: list[bytes]) -> str | None:
    reader = QuicReader(flight[0])
    found = None
    for datagram in flight:
        found = reader.read(datagram)
        if found is not None:
            break
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_name_is_found(version: int) -> None:
    (datagram,) = datagrams("www.example.org", version)
    assert is_quic_initial(datagram)
    assert read([datagram]) == "www.example.org"


@pytest.mark.parametrize("order", [1, -1])
def test_hello_over_several_datagrams_is_put_together(order: int) -> None:
    flight = datagrams("www.example.org", padding=2000)
    assert len(flight) > 1
    first = flight[0]
    reader = QuicReader(first)
    found = [reader.read(datagram) for datagram in flight[::order]]
    assert found[:-1] == [None] * (len(flight) - 1)
    assert found[-1] == "www.example.org"


def test_same_datagram_again_changes_nothing() -> None:
    flight = datagrams("www.example.org", padding=2000)
    assert read([flight[0], *flight]) == "www.example.org"


def test_hello_that_never_comes_is_given_up() -> None:
    first = datagrams("www.example.org", padding=2000)[0]
    reader = QuicReader(first)
    found = [reader.read(first) for _ in range(MAX_DATAGRAMS)]
    assert found == [None] * (MAX_DATAGRAMS - 1) + [""]


def test_packet_of_another_connection_tells_nothing() -> None:
    reader = QuicReader(datagrams("www.example.org")[0])
    assert reader.read(datagrams("other.example")[0]) is None


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\xc0" * 1199,
        b"\x40" * 1200,
        b"\xc0\xff\x00\x00\x1d" + bytes(1200),
        b"\xf0\0\0\0\1" + bytes(1200),
    ],
)
def test_what_is_no_initial_packet_is_told_apart(datagram: bytes) -> None:
    assert not is_quic_initial(datagram)


@given(st.data())
def test_mutated_packet_has_an_answer(data: st.DataObject) -> None:
    mutated = bytearray(datagrams("www.example.org")[0])
    for _ in range(data.draw(st.integers(1, 5))):
        mutated[data.draw(st.integers(5, 60))] = data.draw(st.integers(0, 255))
    if is_quic_initial(bytes(mutated)):
        QuicReader(bytes(mutated)).read(bytes(mutated))


@given(st.binary(max_size=100))
def test_any_octets_behind_a_header_have_an_answer(tail: bytes) -> None:
    datagram = b"\xc0\0\0\0\1" + tail + bytes(1200)
    QuicReader(datagram).read(datagram)
