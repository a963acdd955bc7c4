"""One association: what comes from outside, what cannot be sent, and what the network says about it."""

import os
import random
import socket
import struct
import subprocess

import dpkt
import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.datagram.world import SECOND, Peer, World, both_families, needs_ipv6
from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, TARGET, TARGET6, check_sums, completed, packed, parsed
from tunproxy.datagram.reassembly import Reassembler

UDP_SEGMENT = 103


def opened(world: World, peer: Peer) -> tuple[str, int]:
    """Have the client write to peer; return where the answer goes."""
    world.send(b"hello", to=peer)
    return peer.receive()[1]


def set_up(*commands: str) -> None:
    for command in ("link set lo up", *commands):
        subprocess.run(["ip", *command.split()], check=True)


# datagrams to the client


@both_families
def test_equal_datagrams_reach_the_client_in_one_frame(target: str) -> None:
    sent = [bytes([number]) * 1000 for number in range(20)]
    with World() as world:
        peer = world.peer(target)
        address = opened(world, peer)
        for payload in sent:
            peer.sock.sendto(payload, address)
        [packet] = world.received()
    assert packet.gso_size == 1000
    assert packet.datagrams() == sent


def test_joined_read_reaches_the_client_in_one_frame() -> None:
    payload = bytes(range(256)) * 100
    with World() as world:
        peer = world.peer()
        address = opened(world, peer)
        peer.sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1200)
        peer.sock.sendto(payload, address)
        [packet] = world.received()
    assert packet.gso_size == 1200
    assert packet.payload == payload


@pytest.mark.parametrize(
    "sizes", [[100, 100, 60, 100], [100, 140, 140], [60, 0, 60], [9, 8, 7], [1]], ids=str
)
@pytest.mark.parametrize("uso", [True, False], ids=["uso", "no-uso"])
def test_datagrams_reach_the_client_in_order_and_whole(sizes: list[int], uso: bool) -> None:
    sent = [bytes([number]) * size for number, size in enumerate(sizes)]
    with World(uso=uso) as world:
        peer = world.peer()
        address = opened(world, peer)
        for payload in sent:
            peer.sock.sendto(payload, address)
        world.settle()
        packets = world.received()
    assert [datagram for packet in packets for datagram in packet.datagrams()] == sent
    if not uso:
        assert len(packets) == len(sent)


def test_joined_read_is_cut_for_a_device_without_uso() -> None:
    with World(uso=False) as world:
        peer = world.peer()
        address = opened(world, peer)
        peer.sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        peer.sock.sendto(bytes(2500), address)
        assert [len(packet.payload) for packet in world.received(3)] == [1000, 1000, 500]


def test_datagrams_of_two_peers_do_not_mix() -> None:
    with World() as world:
        first, second = world.peer(TARGET), world.peer("198.51.100.8")
        address = opened(world, first)
        opened(world, second)
        for _ in range(2):
            first.sock.sendto(b"1" * 50, address)
            second.sock.sendto(b"2" * 50, ("127.0.0.1", address[1]))
        packets = world.received(4)
    assert [packet.payload[:1] for packet in packets] == [b"1", b"2", b"1", b"2"]
    assert [packet.source for packet in packets] == [TARGET, "198.51.100.8"] * 2


@both_families
def test_large_datagram_reaches_the_client_in_fragments(target: str) -> None:
    payload = bytes(range(256)) * 40
    with World(mtu=1280) as world:
        peer = world.peer(target)
        address = opened(world, peer)
        peer.sock.sendto(payload, address)
        found = world.outbound(9)
    assert all(len(frame) <= 10 + 1280 for frame in found)
    head = 48 if ":" in target else 20
    datagram = b"".join(frame[10 + head :] for frame in found)
    assert datagram[8:] == payload
    assert struct.unpack("!H", datagram[4:6])[0] == len(payload) + 8


def test_forgotten_target_still_answers() -> None:
    with World() as world:
        peer = world.peer()
        first = opened(world, peer)
        for port in range(1, 1100):  # more than an association remembers
            world.inbound(frames.udp(b"x", target=("198.51.100.8", port)))
        world.settle()
        world.sink.frames.clear()
        assert opened(world, peer) == first
        peer.sock.sendto(b"answer", first)
        assert world.received()[0].source == TARGET


def test_datagram_from_a_program_of_this_host_is_dropped() -> None:
    with World() as world, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"x", opened(world, world.peer()))
        world.settle()
        assert world.drops() == {"martian_source": 1}
        assert world.sink.frames == []


@needs_namespaces
def test_datagram_from_a_peer_never_written_to_is_delivered() -> None:
    isolated(_stranger)


def _stranger() -> None:
    set_up("address add 203.0.113.5/32 dev lo")
    with World() as world, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        address = opened(world, world.peer())
        stranger.bind(("203.0.113.5", 999))
        stranger.settimeout(5)
        stranger.sendto(b"knock", ("203.0.113.5", address[1]))
        [packet] = world.received()
        assert (packet.source, packet.source_port, packet.payload) == ("203.0.113.5", 999, b"knock")
        world.inbound(frames.udp(b"come in", target=("203.0.113.5", 999)))
        assert stranger.recv(100) == b"come in"
        assert len(world.table) == 1


# errors


def refused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_refused_datagram_becomes_port_unreachable() -> None:
    port = refused_port()
    with World() as world:
        world.inbound(frames.udp(b"is anybody there", target=(TARGET, port)))
        packet = completed(world.outbound()[0])
    check_sums(packet)
    error = dpkt.ip.IP(packet)
    assert (error.src, error.dst) == (packed(TARGET), packed(CLIENT))
    assert (error.icmp.type, error.icmp.code) == (3, 3)
    quoted = dpkt.ip.IP(packet[28:])
    assert (quoted.src, quoted.dst) == (packed(CLIENT), packed(TARGET))
    assert (quoted.udp.sport, quoted.udp.dport, bytes(quoted.udp.data)) == (5000, port, b"is anybody there")


@needs_ipv6
def test_refused_datagram_becomes_port_unreachable_ipv6() -> None:
    with World() as world:
        peer = world.peer(TARGET6)
        peer.sock.close()
        world.send(b"is anybody there", to=peer)
        packet = completed(world.outbound()[0])
    check_sums(packet)
    error = dpkt.ip6.IP6(packet)
    assert (error.src, error.dst) == (packed(TARGET6), packed(frames.CLIENT6))
    assert (packet[40], packet[41]) == (1, 4)
    quoted = dpkt.ip6.IP6(packet[48:])
    assert (quoted.src, quoted.dst) == (packed(frames.CLIENT6), packed(TARGET6))
    assert (quoted.data.dport, bytes(quoted.data.data)) == (peer.port, b"is anybody there")


def test_refused_target_does_not_cost_others_a_datagram() -> None:
    port = refused_port()
    with World() as world:
        peer = world.peer()
        for number in range(5):
            world.inbound(frames.udp(b"x", target=(TARGET, port)))
            world.send(bytes([number]), to=peer)
        assert [peer.receive()[0] for _ in range(5)] == [bytes([number]) for number in range(5)]
        assert world.drops() == {}


def test_refused_gathered_datagrams_are_sent_again() -> None:
    port = refused_port()
    with World() as world:
        peer = world.peer()
        world.inbound(frames.udp(b"x", target=(TARGET, port)))
        world.send(b"1" * 9, b"2" * 9, b"3" * 9, to=peer)
        assert [peer.receive()[0][:1] for _ in range(3)] == [b"1", b"2", b"3"]


def test_errors_are_sent_at_a_bounded_rate() -> None:
    port = refused_port()
    with World() as world:
        for _ in range(400):
            world.inbound(frames.udp(b"x", target=(TARGET, port)))
            world.poller.poll(world.now, 0)
        world.settle()
        assert len(world.sink.frames) == 200
        world.now += SECOND
        world.inbound(frames.udp(b"x", target=(TARGET, port)))
        world.settle()
        assert len(world.sink.frames) == 201


@needs_namespaces
def test_no_route_becomes_net_unreachable() -> None:
    isolated(_no_route)


def _no_route() -> None:
    set_up()
    with World() as world:
        world.inbound(frames.udp(b"x", target=("203.0.113.9", 53)))
        error = dpkt.ip.IP(completed(world.outbound()[0]))
        assert (error.icmp.type, error.icmp.code) == (3, 0)
        assert error.src == packed("203.0.113.9")
        assert world.drops() == {"rejected": 1}
        world.inbound(frames.udp(b"x", source=(frames.CLIENT6, 1), target=("2001:db8::99", 53)))
        packet = completed(world.outbound()[0])
        assert (packet[40], packet[41]) == (1, 0)


@needs_namespaces
def test_unreachable_route_becomes_host_unreachable() -> None:
    isolated(_unreachable_route)


def _unreachable_route() -> None:
    set_up("route add unreachable 203.0.113.0/24", "route add prohibit 192.0.2.0/24")
    with World() as world:
        world.inbound(
            frames.udp(b"x", target=("203.0.113.9", 53)), frames.udp(b"x", target=("192.0.2.1", 53))
        )
        codes = [dpkt.ip.IP(completed(frame)).icmp.code for frame in world.outbound(2)]
        assert codes == [1, 13]


@needs_namespaces
def test_datagram_larger_than_the_path_becomes_fragmentation_needed() -> None:
    isolated(_path_mtu)


def _path_mtu() -> None:
    set_up("link set lo mtu 1300")
    with World() as world:
        peer = world.peer()
        world.inbound(frames.udp(bytes(1400), target=peer.end))
        error = dpkt.ip.IP(completed(world.outbound()[0]))
        assert (error.icmp.type, error.icmp.code) == (3, 4)
        assert struct.unpack("!H", bytes(error.icmp)[6:8])[0] == 1300
        world.inbound(frames.udp(bytes(1400), target=peer.end, df=False))
        assert len(peer.receive()[0]) == 1400
        world.inbound(frames.udp(bytes(60_000), target=peer.end))  # it came in fragments
        assert len(peer.receive()[0]) == 60_000
        world.send(*[bytes(1400)] * 5, to=peer)
        errors = world.outbound()
        assert all(dpkt.ip.IP(completed(frame)).icmp.code == 4 for frame in errors)
        for _ in range(2):  # the kernel cuts again what fits
            world.send(*[bytes(1200)] * 5, to=peer)
            assert [len(peer.receive()[0]) for _ in range(5)] == [1200] * 5
        world.inbound(*[frames.udp(bytes(1400), target=peer.end, df=False)] * 3)
        assert [len(peer.receive()[0]) for _ in range(3)] == [1400] * 3


@needs_namespaces
def test_datagram_larger_than_the_path_becomes_packet_too_big() -> None:
    isolated(_path_mtu_ipv6)


def _path_mtu_ipv6() -> None:
    set_up("link set lo mtu 1300")
    with World() as world:
        peer = world.peer(TARGET6)
        world.send(bytes(1400), to=peer)
        packet = completed(world.outbound()[0])
        check_sums(packet)
        assert (packet[40], packet[41]) == (2, 0)
        assert struct.unpack("!I", packet[44:48])[0] == 1300


@needs_namespaces
def test_hop_limit_that_ends_on_the_way_is_reported_by_the_router() -> None:
    isolated(_time_exceeded)


def _time_exceeded() -> None:
    """client - we - router (192.0.2.2, another namespace) - 203.0.113.0/24."""
    router = f"router-{os.getpid()}"
    set_up(f"netns add {router}")
    try:
        set_up(
            f"link add near type veth peer name far netns {router}",
            "address add 192.0.2.1/24 dev near",
            "link set near up",
            "route add 203.0.113.0/24 via 192.0.2.2",
            f"-n {router} address add 192.0.2.2/24 dev far",
            f"-n {router} link set far up",
            f"-n {router} link set lo up",
            f"-n {router} route add 203.0.113.0/24 via 192.0.2.9",
        )
        sysctl = ["sysctl", "-qw", "net.ipv4.ip_forward=1"]
        subprocess.run(["ip", "netns", "exec", router, *sysctl], check=True)
        with World() as world:
            world.inbound(frames.udp(b"trace", target=("203.0.113.9", 33434), hop_limit=1))
            packet = completed(world.outbound()[0])
            error = dpkt.ip.IP(packet)
            assert (error.icmp.type, error.icmp.code) == (11, 0)
            assert error.src == packed("192.0.2.2")
            quoted = dpkt.ip.IP(packet[28:])
            assert (quoted.src, quoted.dst, quoted.udp.dport) == (
                packed(CLIENT),
                packed("203.0.113.9"),
                33434,
            )
    finally:
        subprocess.run(["ip", "netns", "del", router], check=True)


def test_socket_that_cannot_cut_sends_one_by_one() -> None:
    with World() as world:
        peer = world.peer()
        opened(world, peer)
        # Without checksums the kernel has nothing to cut for; a send with UDP_SEGMENT fails (EINVAL).
        world.sockets.made[0].setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK
        for _ in range(2):
            world.send(b"1" * 9, b"2" * 9, b"3" * 9, to=peer)
            assert [peer.receive()[0][:1] for _ in range(3)] == [b"1", b"2", b"3"]
        assert world.drops() == {}


@pytest.mark.parametrize(
    ("target", "size"),
    [(TARGET, 65507), pytest.param(TARGET6, 65527, marks=needs_ipv6)],
    ids=["ipv4", "ipv6"],
)
def test_largest_datagram_passes_both_ways(target: str, size: int) -> None:
    """RFC 768: the length field counts to 65535, of which IPv4 needs 20 for its own header."""
    payload = random.Random(768).randbytes(size)
    with World() as world:
        peer = world.peer(target)
        world.send(payload, to=peer)
        data, address = peer.receive()
        assert data == payload
        peer.sock.sendto(payload, address)
        box = Reassembler(world.counters)
        found = [box.add(frame, parsed(frame), world.now) for frame in world.outbound(44)]
        [whole] = [frame for frame in found if frame is not None]
        assert whole[-size:] == payload
        check_sums(whole[10:])
        assert world.drops() == {}
