"""IP: packets that a gateway must drop, and fragments."""

import os
import socket
import struct
import time

from tests.bench.abuse import packets
from tests.bench.abuse.case import case
from tests.bench.abuse.client import Client, pair
from tests.bench.abuse.packets import MORE_FRAGMENTS, SYN, TCP, UDP, fragment6, ipv4, ipv6, tcp_body, udp_body
from tests.bench.abuse.rig import FAR, SECOND, SERVICE, SERVICE6, US, US6, Failed, Rig

GROUP = "IP"


def sink(rig: Rig, address: str = SERVICE) -> tuple[socket.socket, int]:
    sock = rig.datagram(address)
    return sock, sock.getsockname()[1]


def arrives(sock: socket.socket, data: bytes, timeout: float = 1.5) -> bool:
    """Return whether a datagram arrives as it was sent; fail where another one does."""
    sock.settimeout(timeout)
    try:
        got = sock.recv(1 << 16)
    except TimeoutError:
        return False
    if got != data:
        raise Failed(f"another datagram arrived: {len(got)} octets, {got[:12]!r}")
    return True


def dropped(rig: Rig, packet: bytes, sock: socket.socket, what: str) -> None:
    """Fail where a datagram gets through; then one that is right must."""
    rig.wire.send(packet)
    sock.settimeout(0.25)
    try:
        got = sock.recv(1 << 16)
    except TimeoutError:
        return
    raise Failed(f"{what} is carried: {len(got)} octets arrived")


def still_works(rig: Rig, sock: socket.socket, source: str = US) -> None:
    host, port = sock.getsockname()[:2]
    for _ in range(10):  # the device's queue may still be full, and drops unseen
        rig.wire.send(packets.udp((source, rig.port()), (host, port), b"right"))
        if arrives(sock, b"right", 0.5):
            return
    raise Failed("afterwards a good datagram does not arrive")


@case(GROUP, "wrong IPv4 header checksum", "RFC 1122 §3.2.1.2", needs="udp")
def bad_sum(rig: Rig) -> None:
    """MUST be dropped silently."""
    sock, port = sink(rig)
    body = udp_body((US, 4000), (SERVICE, port), b"bad")
    dropped(rig, ipv4(US, SERVICE, UDP, body, spoil_sum=0x0101), sock, "it")
    still_works(rig, sock)


@case(GROUP, "wrong lengths", "RFC 791 §3.1, 768", needs="udp")
def bad_length(rig: Rig) -> None:
    """A total length beyond the packet or within the header, a UDP length beyond its datagram."""
    sock, port = sink(rig)
    body = udp_body((US, 4001), (SERVICE, port), b"x" * 40)
    for length in (0, 19, 20, 27, 69, 1000, 65535):
        dropped(rig, ipv4(US, SERVICE, UDP, body, length=length), sock, f"total length {length} of 68")
    for length in (0, 7, 49, 65535):
        odd = udp_body((US, 4001), (SERVICE, port), b"x" * 40, length=length)
        dropped(rig, ipv4(US, SERVICE, UDP, odd), sock, f"UDP length {length} of 48")
    still_works(rig, sock)


@case(GROUP, "truncated headers", "RFC 1122 §3.2.1", needs="udp")
def truncated(rig: Rig) -> None:
    """Cut at each octet, and header lengths of less than 20 octets or more than there is."""
    sock, port = sink(rig)
    whole = packets.udp((US, 4002), (SERVICE, port), b"x" * 40)
    for size in range(1, 29):
        rig.wire.send(whole[:size])
    for words in (0, 1, 4, 15):
        dropped(rig, ipv4(US, SERVICE, UDP, whole[20:], header_words=words), sock, f"header of {words} words")
    still_works(rig, sock)


@case(GROUP, "wrong UDP checksum", "RFC 1122 §4.1.3.4", needs="udp")
def bad_udp_sum(rig: Rig) -> None:
    """MUST be dropped silently; none at all is allowed in IPv4."""
    sock, port = sink(rig)
    dropped(
        rig, ipv4(US, SERVICE, UDP, udp_body((US, 4003), (SERVICE, port), b"bad", spoil_sum=7)), sock, "it"
    )
    body = udp_body((US, 4003), (SERVICE, port), b"none")
    rig.wire.send(ipv4(US, SERVICE, UDP, body[:6] + b"\0\0" + body[8:]))
    if not arrives(sock, b"none"):
        raise Failed("a datagram without checksum does not arrive")


@case(GROUP, "TTL 0 goes no further", "RFC 1812 §5.3.1", needs="udp")
def ttl_zero(rig: Rig) -> None:
    """Who forwards MUST NOT pass it on."""
    sock = rig.datagram(FAR, rig.far)
    dropped(rig, packets.udp((US, 4004), sock.getsockname()[:2], b"x", ttl=0), sock, "it")
    still_works(rig, sock)


@case(GROUP, "TTL 1 does not reach a host behind a router", "RFC 1812 §5.3.1", needs="udp")
def ttl_one(rig: Rig) -> None:
    """Else traceroute shows every host as the first hop."""
    sock = rig.datagram(FAR, rig.far)
    port = sock.getsockname()[1]
    rig.wire.send(packets.udp((US, 4005), (FAR, port), b"x", ttl=1))
    error = rig.icmp_error(0.6, FAR)
    if arrives(sock, b"x", 0.2):
        raise Failed("it arrives")
    if error is None or error.body[0] != 11:
        raise Failed(f"dropped, answered with {error or 'nothing'} instead of time exceeded")
    rig.wire.send(packets.udp((US, 4005), (FAR, port), b"y", ttl=4))
    if not arrives(sock, b"y"):
        raise Failed("with TTL 4 it does not arrive either")


@case(GROUP, "source route", "RFC 7126 §4.3, §4.4", needs="udp")
def source_route(rig: Rig) -> None:
    """Loose or strict: dropped, by default."""
    sock, port = sink(rig)
    for kind in (0x83, 0x89):
        options = struct.pack("!BBB4sB", kind, 7, 4, socket.inet_aton(SECOND), 0)
        packet = ipv4(US, SERVICE, UDP, udp_body((US, 4006), (SERVICE, port), b"x"), options=options)
        dropped(rig, packet, sock, "a loose one" if kind == 0x83 else "a strict one")
    still_works(rig, sock)


MARTIANS = ("0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255")


@case(GROUP, "sources that nobody can have", "RFC 1122 §3.2.1.3, 1812 §5.3.7", needs="udp")
def martian_source(rig: Rig) -> None:
    """Loopback, multicast, broadcast: no connection and no datagram in their name."""
    sock, port = sink(rig)
    listener = rig.listen()
    for odd in MARTIANS[1:3] + MARTIANS[4:]:
        rig.wire.send(
            ipv4(odd, SERVICE, TCP, tcp_body((odd, 4007), (SERVICE, listener.getsockname()[1]), SYN, 1))
        )
        dropped(rig, packets.udp((odd, 4007), (SERVICE, port), b"x"), sock, f"a datagram from {odd}")
    answers = rig.wire.collect(lambda p: p.target in MARTIANS, 0.1)
    if answers:
        raise Failed(f"{answers[0]} to {answers[0].target}")
    rig.not_connected(listener, 0.1)
    still_works(rig, sock)


def reaches_loopback(rig: Rig, target: str) -> str:
    """Return what happens when a client asks for the loopback address of the machine behind the device."""
    listener = rig.keep(rig.host.listen("::1" if target == "::1" else "127.0.0.1", rig.port()))
    datagrams = rig.keep(
        rig.host.datagram("::1" if target == "::1" else "127.0.0.1", listener.getsockname()[1])
    )
    port = listener.getsockname()[1]
    answer = Client(rig, port, target).shake(0.5)
    rig.wire.send(packets.udp((US6 if ":" in target else US, 4008), (target, port), b"x"))
    for sock, what in ((listener, "a connection"), (datagrams, "a datagram")):
        sock.settimeout(0.2)
        try:
            if sock is listener:
                rig.keep(listener.accept()[0])
            else:
                datagrams.recv(10)
            return f"{what} reached it"
        except TimeoutError:
            pass
    return f"{answer}" if answer is not None and answer.flags & SYN else ""


@case(GROUP, "127.0.0.1 through the device is not the host's", "RFC 1122 §3.2.1.3 (g)", needs="udp hosts")
def loopback(rig: Rig) -> None:
    """Services there trust whoever can reach them; a container or guest must not."""
    for target in ("127.0.0.1", "127.8.8.8", "0.0.0.0"):
        if happened := reaches_loopback(rig, target):
            raise Failed(f"{target}: {happened}")


@case(GROUP, "::1 and ::ffff:127.0.0.1 are not the host's either", "RFC 4291 §2.5.3, 6890", needs="six udp")
def loopback_six(rig: Rig) -> None:
    """The address in its other clothes."""
    for target in ("::1", "::ffff:127.0.0.1", "::"):
        if happened := reaches_loopback(rig, target):
            raise Failed(f"{target}: {happened}")


@case(GROUP, "fragments in any order make a datagram", "RFC 791 §3.2, 1122 §3.3.2", needs="udp")
def reassembly(rig: Rig) -> None:
    """Last before first, and one of them twice."""
    sock, port = sink(rig)
    data = os.urandom(4000)
    parts = packets.fragments(packets.udp((US, 4010), (SERVICE, port), data), 1400, 77)
    for number in (2, 0, 2, 1):
        rig.wire.send(parts[number])
    if not arrives(sock, data):
        raise Failed("it does not arrive")


@case(GROUP, "overlapping fragments, IPv4", "RFC 1858 §3, robustness", needs="udp")
def overlap_four(rig: Rig) -> None:
    """Dropped, or one reading of both: never a mixture that nobody sent."""
    sock, port = sink(rig)
    body = udp_body((US, 4011), (SERVICE, port), b"A" * 792)
    for word, part in ((MORE_FRAGMENTS, body[:400]), (25 | MORE_FRAGMENTS, b"B" * 400), (75, body[600:])):
        rig.wire.send(ipv4(US, SERVICE, UDP, part, fragment=word, identification=501))
    sock.settimeout(0.3)
    try:
        got = sock.recv(1 << 16)
        if len(got) != 792:
            raise Failed(f"{len(got)} octets arrived")
    except TimeoutError:
        pass
    still_works(rig, sock)


@case(GROUP, "overlapping fragments, IPv6", "RFC 8200 §4.5, 5722", needs="six udp")
def overlap_six(rig: Rig) -> None:
    """The datagram MUST be dropped, with all its fragments."""
    sock, port = sink(rig, SERVICE6)
    body = udp_body((US6, 4012), (SERVICE6, port), b"A" * 792)
    for offset, more, part in ((0, True, body[:400]), (200, True, body[200:600]), (600, False, body[600:])):
        rig.wire.send(fragment6(US6, SERVICE6, UDP, part, offset, more, 502))
    sock.settimeout(0.3)
    try:
        sock.recv(1 << 16)
        raise Failed("it is delivered")
    except TimeoutError:
        pass
    still_works(rig, sock, US6)


@case(GROUP, "atomic fragments", "RFC 6946 §4, 8200 §4.5", needs="six udp")
def atomic(rig: Rig) -> None:
    """A fragment that is whole is processed at once, whatever else has its identification."""
    sock, port = sink(rig, SERVICE6)
    body = udp_body((US6, 4013), (SERVICE6, port), b"atomic")
    rig.wire.send(fragment6(US6, SERVICE6, UDP, b"other..." * 20, 0, True, 503))
    rig.wire.send(fragment6(US6, SERVICE6, UDP, body, 0, False, 503))
    if not arrives(sock, b"atomic"):
        raise Failed("it does not arrive")


@case(GROUP, "extension headers are walked", "RFC 8200 §4", needs="six udp")
def extensions(rig: Rig) -> None:
    """Hop-by-hop and destination options before UDP."""
    sock, port = sink(rig, SERVICE6)
    body = udp_body((US6, 4014), (SERVICE6, port), b"behind")
    pad = b"\0\x01\x04\0\0\0\0"
    rig.wire.send(ipv6(US6, SERVICE6, 0, b"\x3c" + pad + b"\x11" + pad + body))
    if not arrives(sock, b"behind", 1):
        raise Failed("it does not arrive")


@case(GROUP, "a hundred extension headers do no harm", "RFC 8200 §4, 8883", needs="six udp")
def many_extensions(rig: Rig) -> None:
    """Walked or dropped; others go on."""
    sock, port = sink(rig, SERVICE6)
    body = udp_body((US6, 4015), (SERVICE6, port), b"deep")
    pad = b"\0\x01\x04\0\0\0\0"
    for _ in range(50):
        rig.wire.send(ipv6(US6, SERVICE6, 60, (b"\x3c" + pad) * 100 + b"\x11" + pad + body))
    sock.settimeout(0.2)
    try:
        while True:
            sock.recv(100)
    except TimeoutError:
        pass
    still_works(rig, sock, US6)


@case(GROUP, "fragment that ends beyond 65535", "RFC 791 §3.2, CERT CA-1996-26", needs="udp")
def ping_of_death(rig: Rig) -> None:
    """Dropped, nothing breaks."""
    sock, port = sink(rig)
    body = udp_body((US, 4016), (SERVICE, port), b"x" * 1000)
    rig.wire.send(ipv4(US, SERVICE, UDP, body[:800], fragment=MORE_FRAGMENTS, identification=504))
    rig.wire.send(ipv4(US, SERVICE, UDP, b"y" * 1400, fragment=0x1FFF, identification=504))
    rig.wire.send(ipv4(US, SERVICE, packets.ICMP, b"y" * 1400, fragment=0x1FF0, identification=505))
    still_works(rig, sock)


BOMB = 20_000
BOMB_MEMORY = 64 << 20


@case("floods", "20,000 datagrams that never become whole", "RFC 791 §3.2, robustness", needs="udp", tries=1)
def fragment_bomb(rig: Rig) -> None:
    """28 MB of first fragments: memory is bounded, and other traffic goes on."""
    sock, _ = sink(rig)
    client, server = pair(rig)
    before = rig.resident()
    for number in range(BOMB):
        part = ipv4(US, SERVICE, UDP, b"f" * 1400, fragment=MORE_FRAGMENTS, identification=number + 1000)
        rig.wire.send(part)
    grown = rig.resident() - before
    if grown > BOMB_MEMORY:
        raise Failed(f"{grown >> 20} MB more memory")
    still_works(rig, sock)
    client.must_live(server)


@case("floods", "fragmented datagram after them", "robustness", needs="udp", tries=1)
def after_bomb(rig: Rig) -> None:
    """Who cannot finish makes room for who can."""
    for number in range(BOMB // 2):
        part = ipv4(US, SERVICE, UDP, b"f" * 1400, fragment=MORE_FRAGMENTS, identification=number + 30_000)
        rig.wire.send(part)
    sock, port = sink(rig)
    data = os.urandom(4000)
    for identification in range(990, 1000):  # the device's queue may still be full, and drops unseen
        time.sleep(0.2)
        for part in packets.fragments(packets.udp((US, 4017), (SERVICE, port), data), 1400, identification):
            rig.wire.send(part)
        if arrives(sock, data, 0.5):
            return
    raise Failed("it does not arrive")


@case(GROUP, "unknown protocol is unreachable or dropped", "RFC 1122 §3.2.2.1", needs="udp")
def unknown_protocol(rig: Rig) -> None:
    """Protocol unreachable, or silence; nothing breaks."""
    sock, _ = sink(rig)
    for proto in (0, 2, 4, 41, 47, 50, 132, 253, 255):
        rig.wire.send(ipv4(US, SERVICE, proto, b"\xff" * 60))
    for answer in rig.wire.collect(lambda p: p.proto == packets.ICMP, 0.3):
        if answer.body[0] != 3:
            raise Failed(str(answer))
    still_works(rig, sock)
