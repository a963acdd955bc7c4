"""Which worker a packet belongs to."""

import struct
from collections import Counter

import pytest

from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, echo_request, ip, parsed, udp
from tunproxy.flow.queues import queue_of
from tunproxy.wire.vnet import PLAIN

FAMILIES = [(CLIENT, TARGET), (CLIENT6, TARGET6)]


def queue(frame: bytes, queues: int = 4) -> int:
    return queue_of(frame, parsed(frame), queues)


def tcp(client: str, port: int, target: str, target_port: int) -> bytes:
    segment = struct.pack("!HHIIHHHH", port, target_port, 1, 0, 0x5002, 1000, 0, 0)
    return PLAIN + ip(segment, 6, source=client, target=target)


def error(client: str, quoted: bytes, kind: int) -> bytes:
    """Return what client, or a router before it, says of a packet that went to it."""
    message = struct.pack("!BBHI", kind, 0, 0, 0) + quoted
    router = client[:-1] + "9"
    return PLAIN + ip(
        message, 58 if ":" in client else 1, source=router, target="fd00::9" if ":" in client else TARGET
    )


@pytest.mark.parametrize(("client", "target"), FAMILIES)
def test_port_has_one_queue_whoever_it_writes_to_and_by_whatever_protocol(client: str, target: str) -> None:
    for port in range(5000, 5040):
        other = target[:-1] + "9"
        found = {
            queue(udp(b"x", source=(client, port), target=(target, 7000))),
            queue(udp(b"y" * 900, source=(client, port), target=(other, 9))),
            queue(tcp(client, port, target, 443)),
        }
        assert len(found) == 1


@pytest.mark.parametrize("step", [1, 2], ids=["ports in a row", "as Linux chooses them"])
@pytest.mark.parametrize("queues", [2, 3, 4, 64])
@pytest.mark.parametrize(("client", "target"), FAMILIES)
def test_queues_get_alike(client: str, target: str, queues: int, step: int) -> None:
    frames = (tcp(client, 32_768 + step * number, target, 443) for number in range(64 * queues))
    counts = Counter(queue(frame, queues) for frame in frames)
    assert set(counts) == set(range(queues))
    assert max(counts.values()) <= 2 * 64


@pytest.mark.parametrize(("client", "target"), FAMILIES)
def test_questions_for_names_go_to_the_first(client: str, target: str) -> None:
    for port in range(5000, 5020):
        assert queue(udp(b"x", source=(client, port), target=(target, 53))) == 0
        assert queue(tcp(client, port, target, 53)) == 0


@pytest.mark.parametrize(("client", "target"), FAMILIES)
def test_pings_go_by_the_address_alone(client: str, target: str) -> None:
    requests = (echo_request(b"x", source=client, target=target, identifier=each) for each in range(20))
    assert len({queue(frame) for frame in requests}) == 1


@pytest.mark.parametrize(("client", "target", "kind"), [(CLIENT, TARGET, 3), (CLIENT6, TARGET6, 2)])
def test_error_goes_where_the_packet_went_that_it_is_about(client: str, target: str, kind: int) -> None:
    for port in range(5000, 5020):
        sent = udp(b"x" * 40, source=(target, 7000), target=(client, port))[len(PLAIN) :]
        expected = queue(udp(b"x", source=(client, port), target=(target, 7000)))
        assert queue(error(client, sent, kind)) == expected
    answer = udp(b"x" * 40, source=(target, 53), target=(client, 5001))[len(PLAIN) :]
    assert queue(error(client, answer, kind)) == 0


@pytest.mark.parametrize("protocol", [6, 17, 1, 47])
@pytest.mark.parametrize("length", range(0, 40, 3))
def test_packet_that_is_cut_short_has_a_queue(protocol: int, length: int) -> None:
    assert 0 <= queue(PLAIN + ip(bytes(length), protocol, source=CLIENT, target=TARGET)) < 4
    assert 0 <= queue(PLAIN + ip(b"\3" * length, protocol, source=CLIENT, target=TARGET)) < 4
