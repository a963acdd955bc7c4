"""Reports about TCP packets of ours, as routers make them."""

import random

import dpkt
import pytest
from librt.strings import BytesWriter

from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, packed, parsed
from tunproxy.wire.icmp_error import emit_error
from tunproxy.wire.icmp_quote import TooBig, parse_too_big
from tunproxy.wire.ip import TCP, Endpoints, IpView, parse_ip
from tunproxy.wire.reasons import OK
from tunproxy.wire.tcp import ACK, emit_tcp
from tunproxy.wire.vnet import VNET_LEN

ROUTER, ROUTER6 = "192.0.2.254", "2001:db8::fe"
FAMILIES = pytest.mark.parametrize(
    ("target", "client", "router"), [(TARGET, CLIENT, ROUTER), (TARGET6, CLIENT6, ROUTER6)], ids=["v4", "v6"]
)


def ours(target: str, client: str, seq: int) -> bytes:
    """Return a packet of ours to the client, without the frame's header."""
    out = BytesWriter()
    ends = Endpoints(packed(target), packed(client), 80, 50000, TCP)
    emit_tcp(out, ends, seq, 7, ACK, 1000, 0, 1000, 0)
    return out.getvalue()[VNET_LEN:] + bytes(1000)


def report(target: str, client: str, router: str, *, mtu: int = 1400, quote: bytes | None = None) -> bytes:
    """Return the frame in which the router tells us that our packet was too big."""
    packet = ours(target, client, 0xFEDC_BA98) if quote is None else quote
    kind, code = (2, 0) if ":" in target else (3, 4)
    return emit_error(BytesWriter(), packed(router), packed(target), kind, code, mtu, packet)


@FAMILIES
def test_report_names_flow_sequence_number_and_mtu(target: str, client: str, router: str) -> None:
    found = TooBig()
    frame = report(target, client, router)
    assert parse_too_big(frame, parsed(frame), found)
    ports = (50000).to_bytes(2, "big") + (80).to_bytes(2, "big")
    assert found.key == packed(client) + packed(target) + ports, "as in the client's packets"
    assert (found.seq, found.mtu) == (0xFEDC_BA98, 1400)


@FAMILIES
def test_eight_octets_of_the_quoted_segment_are_enough_and_seven_are_not(
    target: str, client: str, router: str
) -> None:
    header_len = 40 if ":" in target else 20
    packet = ours(target, client, 1)
    for size, is_enough in ((8, True), (7, False)):
        frame = report(target, client, router, quote=packet[: header_len + size])
        assert parse_too_big(frame, parsed(frame), TooBig()) is is_enough


@FAMILIES
def test_report_about_a_datagram_is_not_for_tcp(target: str, client: str, router: str) -> None:
    quote = frames.udp(bytes(100), source=(target, 80), target=(client, 50000))[VNET_LEN:]
    frame = report(target, client, router, quote=quote)
    assert not parse_too_big(frame, parsed(frame), TooBig())


@FAMILIES
def test_other_messages_are_none(target: str, client: str, router: str) -> None:
    echo = frames.echo_request(bytes(64), source=client, target=target)
    assert not parse_too_big(echo, parsed(echo), TooBig())
    for kind, code in ((1, 4), (3, 0)) if ":" in target else ((3, 3), (11, 0)):
        frame = emit_error(
            BytesWriter(), packed(router), packed(target), kind, code, 0, ours(target, client, 1)
        )
        assert not parse_too_big(frame, parsed(frame), TooBig())


@FAMILIES
def test_mutated_report_raises_nothing_and_reads_nothing_outside(
    target: str, client: str, router: str
) -> None:
    source = random.Random(3)
    whole = report(target, client, router)
    view, found = IpView(), TooBig()
    for _ in range(3000):
        frame = bytearray(whole)
        for _ in range(source.randrange(1, 4)):
            frame[source.randrange(VNET_LEN + 20, len(frame))] = source.randrange(256)
        if parse_ip(bytes(frame), VNET_LEN, len(frame), view) == OK:
            view.end = source.randrange(view.payload_off, view.end + 1)
            parse_too_big(bytes(frame[: view.end]), view, found)


def test_oracle_agrees() -> None:
    frame = report(TARGET, CLIENT, ROUTER, mtu=1280)
    error = dpkt.ip.IP(frame[VNET_LEN:]).data
    assert (error.type, error.code, error.data.mtu) == (3, 4, 1280)
