"""A packet as fragments: our own reassembly and dpkt put it together again."""

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from librt.strings import BytesWriter

from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, check_sums, packed, parsed, read, summed
from tunproxy.datagram.fragments import emit_fragments, whole_datagram
from tunproxy.datagram.reassembly import Reassembler
from tunproxy.flow.counters import Counters
from tunproxy.wire.ip import UDP, Endpoints
from tunproxy.wire.vnet import PLAIN, VNET_LEN


def ends(ipv6: bool) -> Endpoints:
    source, destination = (TARGET6, CLIENT6) if ipv6 else (TARGET, CLIENT)
    return Endpoints(packed(source), packed(destination), 7000, 5000, UDP)


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
@given(size=st.integers(0, 20_000), mtu=st.integers(576, 9000))
@settings(max_examples=60, deadline=None)
def test_fragments_are_put_together_again(ipv6: bool, size: int, mtu: int) -> None:
    payload = bytes(index * 31 & 255 for index in range(size))
    message = whole_datagram(BytesWriter(), ends(ipv6), payload)
    found = emit_fragments(BytesWriter(), ends(ipv6), message, mtu, 70_000)
    reassembler = Reassembler(Counters())
    whole = None
    for frame in found:
        assert frame[:VNET_LEN] == PLAIN
        assert len(frame) - VNET_LEN <= mtu
        if not ipv6:
            assert summed(frame[VNET_LEN : VNET_LEN + 20]) == 0xFFFF
            assert dpkt.ip.IP(frame[VNET_LEN:]).id == 70_000 & 0xFFFF
        if len(found) > 1:
            whole = reassembler.add(frame, parsed(frame), 0)
        elif not ipv6:
            whole = frame
    if whole is not None:
        check_sums(whole[VNET_LEN:])
        assert read(whole).payload == payload


def test_sum_of_zero_is_sent_as_ones() -> None:
    """RFC 768: an all zero checksum means that there is none."""
    plain = whole_datagram(BytesWriter(), ends(False), b"\0\0")
    rest = summed(packed(TARGET) + packed(CLIENT) + bytes([0, 17, 0, 10]) + plain[:6])
    payload = (0xFFFF - rest).to_bytes(2, "big")
    assert whole_datagram(BytesWriter(), ends(False), payload)[6:8] == b"\xff\xff"
