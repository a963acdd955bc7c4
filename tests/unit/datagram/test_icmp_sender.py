"""Errors on their way to the client; that they come about, test_association and test_echo show."""

import errno
import socket
import struct

import dpkt
import pytest
from librt.strings import BytesWriter

from tests.unit.datagram.world import SECOND, Recorder
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, check_sums, completed, packed
from tunproxy.datagram.error_queue import FROM_ICMP, FROM_ICMP6, LOCAL, QueuedError
from tunproxy.datagram.icmp_sender import IcmpSender
from tunproxy.flow.counters import Counters
from tunproxy.wire.icmp_error import quote_datagram
from tunproxy.wire.ip import UDP, Endpoints

ROUTER = "203.0.113.1"
ROUTER6 = "2001:db8::ffff"


def ends(ipv6: bool = False) -> Endpoints:
    source, destination = (TARGET6, CLIENT6) if ipv6 else (TARGET, CLIENT)
    return Endpoints(packed(source), packed(destination), 7000, 5000, UDP)


def queued(
    origin: int, kind: int, code: int, *, info: int = 0, reporter: str = ROUTER, error: int = 113
) -> QueuedError:
    extended = struct.pack("<IBBBxII", error, origin, kind, code, info, 0)
    if ":" in reporter:
        extended += struct.pack("<HHI16sI", socket.AF_INET6, 0, 0, packed(reporter), 0)
    else:
        extended += struct.pack("<HH4s8x", socket.AF_INET, 0, packed(reporter))
    return QueuedError(extended, "192.0.2.1", 7000, b"payload")


def passed_on(error: QueuedError, ipv6: bool = False, dialled: str = "192.0.2.1") -> list[bytes]:
    sink = Recorder()
    sender = IcmpSender(sink, BytesWriter(), Counters())
    quote = quote_datagram(BytesWriter(), ends(ipv6), error.payload)
    sender.pass_on(ends(ipv6), quote, error, packed(dialled), SECOND)
    packets = [completed(frame) for frame in sink.frames]
    for packet in packets:
        check_sums(packet)
    return packets


@pytest.mark.parametrize(("kind", "code"), [(3, 0), (3, 1), (3, 13), (11, 0), (12, 0)], ids=str)
def test_error_from_a_router_keeps_its_sender(kind: int, code: int) -> None:
    [packet] = passed_on(queued(FROM_ICMP, kind, code))
    error = dpkt.ip.IP(packet)
    assert (error.src, error.icmp.type, error.icmp.code) == (packed(ROUTER), kind, code)


def test_error_from_the_target_comes_from_the_target_the_client_knows() -> None:
    [packet] = passed_on(queued(FROM_ICMP, 3, 3, reporter="192.0.2.1"))
    assert dpkt.ip.IP(packet).src == packed(TARGET)


def test_error_from_loopback_comes_from_the_target() -> None:
    [packet] = passed_on(queued(FROM_ICMP, 3, 1, reporter="127.0.0.1"))
    assert dpkt.ip.IP(packet).src == packed(TARGET)


def test_mtu_is_passed_on() -> None:
    [packet] = passed_on(queued(FROM_ICMP, 3, 4, info=1400))
    assert struct.unpack("!H", packet[26:28])[0] == 1400
    [packet] = passed_on(queued(FROM_ICMP6, 2, 0, info=1400, reporter=ROUTER6), ipv6=True, dialled=TARGET6)
    assert struct.unpack("!BBHI", packet[40:48])[::3] == (2, 1400)
    assert packet[8:24] == packed(ROUTER6)


@pytest.mark.parametrize("kind", [0, 4, 5, 8])
def test_other_message_is_not_passed_on(kind: int) -> None:
    assert passed_on(queued(FROM_ICMP, kind, 0)) == []


def test_error_of_the_other_family_is_translated_by_its_number() -> None:
    [packet] = passed_on(queued(FROM_ICMP6, 1, 4, error=errno.ECONNREFUSED, reporter=ROUTER6))
    error = dpkt.ip.IP(packet)
    assert (error.src, error.icmp.type, error.icmp.code) == (packed(TARGET), 3, 3)
    assert passed_on(queued(LOCAL, 0, 0, error=errno.ETIMEDOUT)) == []


def test_too_big_names_the_mtu() -> None:
    sink = Recorder()
    sender = IcmpSender(sink, BytesWriter(), Counters())
    for ipv6 in (False, True):
        sender.too_big(ends(ipv6), quote_datagram(BytesWriter(), ends(ipv6), b""), 1300, 0)
    first, second = (completed(frame) for frame in sink.frames)
    assert (first[20], first[21], first[26:28]) == (3, 4, struct.pack("!H", 1300))
    assert (second[40], second[41], second[44:48]) == (2, 0, struct.pack("!I", 1300))


def test_rate_is_bounded_and_recovers() -> None:
    sink = Recorder()
    counters = Counters()
    sender = IcmpSender(sink, BytesWriter(), counters)
    quote = quote_datagram(BytesWriter(), ends(), b"")
    for _ in range(1000):
        sender.refuse(ends(), quote, errno.ECONNREFUSED, 5 * SECOND)
    assert len(sink.frames) == 200
    assert counters.snapshot()["drop_icmp_limit"] == 800
    for number in range(1000):
        sender.refuse(ends(), quote, errno.ECONNREFUSED, 5 * SECOND + number * 1000)
    assert len(sink.frames) == 200 + 999
