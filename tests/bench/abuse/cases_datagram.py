"""UDP and ICMP: mappings, sizes, errors, echo."""

import os

from tests.bench.abuse import packets
from tests.bench.abuse.case import case
from tests.bench.abuse.packets import ICMP, ICMPV6, UDP, Packet
from tests.bench.abuse.rig import (
    ABSENT,
    FAR,
    NO_HOST,
    SECOND,
    SERVICE,
    SERVICE6,
    SILENT,
    US,
    US6,
    Absent,
    Failed,
    Rig,
)

GROUP = "datagrams"


def exchange(rig: Rig, port: int, target: str = SERVICE, data: bytes = b"question") -> tuple[str, int]:
    """Send a datagram to a new server and have it answered; return whom the server saw."""
    server = rig.datagram(target)
    us = US6 if ":" in target else US
    rig.wire.send(packets.udp((us, port), server.getsockname()[:2], data))
    try:
        got, seen = server.recvfrom(1 << 16)
    except TimeoutError:
        raise Failed("the datagram does not arrive") from None
    if got != data:
        raise Failed("the datagram is altered")
    server.sendto(b"answer", seen)
    back = rig.udp_answer(port)
    if back is None:
        raise Failed("the answer does not come back")
    if (back.data, back.sport, back.source) != (b"answer", server.getsockname()[1], target):
        raise Failed(f"the answer comes from {back.source}:{back.sport}")
    if not back.sum_is_right:
        raise Failed("the answer has a wrong checksum")
    return seen[0], seen[1]


@case(GROUP, "UDP there and back", "RFC 768", needs="udp hosts")
def there_and_back(rig: Rig) -> None:
    """The simplest of all."""
    exchange(rig, rig.port())


@case(GROUP, "empty UDP datagram", "RFC 768", needs="udp empty")
def empty(rig: Rig) -> None:
    """Nothing but a header is a datagram, too."""
    exchange(rig, rig.port(), data=b"")


@case(GROUP, "UDP there and back, IPv6", "RFC 768, 8200 §8.1", needs="six udp")
def there_and_back_six(rig: Rig) -> None:
    """The checksum is mandatory there."""
    exchange(rig, rig.port(), SERVICE6)


@case(GROUP, "one port, one mapping for all targets", "RFC 4787 REQ-1", needs="udp hosts mapping")
def mapping(rig: Rig) -> None:
    """Endpoint-independent mapping: what STUN tells must hold for others."""
    port = rig.port()
    first, second = exchange(rig, port), exchange(rig, port, SECOND)
    if first != second:
        raise Failed(f"ports {first[1]} and {second[1]}")


@case(GROUP, "others may answer to a mapping", "RFC 4787 REQ-8 (recommended)", needs="udp hosts mapping")
def filtering(rig: Rig) -> None:
    """Endpoint-independent filtering, for whom transparency matters most: games, WebRTC."""
    port = rig.port()
    seen = exchange(rig, port)
    stranger = rig.datagram(SECOND)
    stranger.sendto(b"hello", seen)
    back = rig.udp_answer(port, 1)
    if back is None:
        raise Absent("filters by address, which the rule allows")
    if (back.data, back.source) != (b"hello", SECOND):
        raise Failed(f"comes as from {back.source}")


@case(GROUP, "datagram of 65,507 octets", "RFC 768, 1122 §3.3.2", needs="udp hosts", tries=3)
def large(rig: Rig) -> None:
    """There and back, in fragments."""
    server = rig.datagram()
    data, port = os.urandom(65_507), rig.port()
    for part in packets.fragments(packets.udp((US, port), server.getsockname()[:2], data), 1480, 5001):
        rig.wire.send(part)
    try:
        got, seen = server.recvfrom(1 << 16)
    except TimeoutError:
        raise Failed("it does not arrive") from None
    if got != data:
        raise Failed("it is altered")
    server.sendto(data, seen)
    parts: dict[int, Packet] = {}
    have = 0
    while have < 65_515:
        packet = rig.wire.wait(lambda p: p.proto == UDP and p.source == SERVICE, 1)
        if packet is None:
            raise Failed(f"{have} of 65515 octets come back")
        if (packet.fragment & 0x1FFF) not in parts:
            parts[packet.fragment & 0x1FFF] = packet
            have += len(packet.body)
    whole = b"".join(parts[at].body for at in sorted(parts))
    if whole[8:] != data:
        raise Failed("it comes back altered")


@case(GROUP, "closed UDP port is port unreachable", "RFC 1122 §4.1.3.1", needs="udp hosts")
def closed(rig: Rig) -> None:
    """From the target, quoting what the client sent, with its own addresses and ports."""
    port, target = rig.port(), rig.port()
    rig.wire.send(packets.udp((US, port), (SERVICE, target), b"anybody?"))
    error = rig.icmp_error(1.5)
    if error is None:
        raise Failed("nothing")
    if error.body[:2] != b"\3\3":
        raise Failed(str(error))
    quoted = error.body[8:]
    want = packets.packed(US) + packets.packed(SERVICE) + port.to_bytes(2, "big") + target.to_bytes(2, "big")
    if quoted[12:24] != want or quoted[9] != UDP:
        raise Failed("quotes another packet")
    if not error.sum_is_right:
        raise Failed("with a wrong checksum")


@case(GROUP, "closed UDP port, IPv6", "RFC 4443 §3.1", needs="six udp")
def closed_six(rig: Rig) -> None:
    """Type 1, code 4."""
    rig.wire.send(packets.udp((US6, rig.port()), (SERVICE6, rig.port()), b"anybody?"))
    error = rig.icmp_error(1.5)
    if error is None:
        raise Failed("nothing")
    if error.body[:2] != b"\1\4":
        raise Failed(str(error))


def echo(rig: Rig, target: str, timeout: float, data: bytes = b"payload!" * 7) -> Packet | None:
    """Return the echo reply of a host."""
    six = ":" in target
    ident, reply, proto = rig.port(), 129 if six else 0, ICMPV6 if six else ICMP
    rig.wire.send(packets.icmp_echo(US6 if six else US, target, ident, 3, data))
    head = ident.to_bytes(2, "big") + b"\0\3"

    def mine(packet: Packet) -> bool:
        return packet.proto == proto and packet.body[0] == reply and packet.body[4:8] == head

    return rig.wire.wait(mine, timeout)


@case(GROUP, "echo of a living host", "RFC 1122 §3.2.2.6")
def echo_alive(rig: Rig) -> None:
    """Identifier, sequence and payload come back, from the right address."""
    reply = echo(rig, SERVICE, 1.5)
    if reply is None:
        raise Failed("no reply")
    if reply.source != SERVICE or reply.body[8:] != b"payload!" * 7 or not reply.sum_is_right:
        raise Failed("the reply is wrong")


@case(GROUP, "echo of a living host, IPv6", "RFC 4443 §4.2", needs="six udp")
def echo_alive_six(rig: Rig) -> None:
    """The same over IPv6."""
    reply = echo(rig, SERVICE6, 1.5)
    if reply is None:
        raise Failed("no reply")
    if not reply.sum_is_right:
        raise Failed("the reply has a wrong checksum")


@case(GROUP, "echo of a host that is not there", "RFC 792, truth", needs="hosts")
def echo_dead(rig: Rig) -> None:
    """Silent, unreachable or absent: it must not look alive."""
    for target in (SILENT, NO_HOST, ABSENT):
        if echo(rig, target, 0.4) is not None:
            raise Failed(f"a reply in the name of {target}")


@case(GROUP, "echo with a wrong checksum", "RFC 792")
def echo_bad_sum(rig: Rig) -> None:
    """Dropped."""
    ident = rig.port()
    rig.wire.send(packets.icmp_echo(US, SERVICE, ident, 1, b"x" * 20, spoil_sum=0x77))
    if rig.wire.wait(lambda p: p.proto == ICMP and p.body[0] == 0, 0.3) is not None:
        raise Failed("a reply")


@case(GROUP, "reply has the hop limit of its way", "RFC 1812 §5.3.1, truth", needs="hosts")
def echo_hops(rig: Rig) -> None:
    """Two routers nearer than it started, or one: not as if the host were here."""
    reply = echo(rig, FAR, 1.5)
    if reply is None:
        raise Failed("no reply")
    if reply.ttl >= 64:
        raise Failed(f"TTL {reply.ttl}, where the host sent 64 and a router is between")


@case(GROUP, "TTL 1 in an echo is time exceeded", "RFC 792, 1812 §5.3.1", needs="hosts")
def echo_ttl(rig: Rig) -> None:
    """What traceroute -I and mtr do."""
    body = packets.icmp_echo(US, FAR, rig.port(), 1, b"trace" * 4)
    rig.wire.send(packets.ipv4(US, FAR, ICMP, body[20:], ttl=1))
    answer = rig.wire.wait(lambda p: p.proto == ICMP and p.body[0] in (0, 11), 1)
    if answer is None:
        raise Failed("nothing")
    if answer.body[0] == 0:
        raise Failed("a reply of the host itself")


@case(GROUP, "host unreachable is told", "RFC 1812 §4.3.3.1", needs="udp hosts")
def unreachable(rig: Rig) -> None:
    """The error of a router on the way reaches the program whose datagram it was."""
    rig.wire.send(packets.udp((US, rig.port()), (NO_HOST, rig.port()), b"anybody?"))
    error = rig.icmp_error(1.5)
    if error is None:
        raise Failed("nothing")
    if error.body[0] != 3:
        raise Failed(str(error))
