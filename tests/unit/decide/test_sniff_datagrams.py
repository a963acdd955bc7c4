"""What first datagrams tell: QUIC's server name, and nothing of anything else."""

from tests.unit.decide.test_sniff_quic import datagrams
from tunproxy.decide.sniff_datagrams import DatagramSniffer
from tunproxy.decide.sniffing import MORE, NOTHING, Sniffed


def test_datagrams_of_quic_tell_the_server_name() -> None:
    flight = datagrams("www.example.org", padding=2000)
    sniffer = DatagramSniffer()
    told = [sniffer.sniff(datagram) for datagram in flight]
    assert told[-1] == Sniffed("www.example.org", "quic")
    assert set(told[:-1]) == {MORE}


def test_datagrams_of_anything_else_tell_nothing() -> None:
    assert DatagramSniffer().sniff(b"hello") == NOTHING
