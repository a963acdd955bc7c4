"""ICMP echo through real ping sockets, in a network namespace that allows them."""

import struct
import subprocess
from pathlib import Path

import dpkt

from tests.isolation import isolated, needs_namespaces
from tests.unit.datagram.world import World
from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, check_sums, completed, packed

RANGE = Path("/proc/sys/net/ipv4/ping_group_range")


def allow(*commands: str, ping: bool = True) -> None:
    RANGE.write_text("0 2147483647" if ping else "1 0")
    for command in ("link set lo up", *commands):
        subprocess.run(["ip", *command.split()], check=True)


@needs_namespaces
def test_echo_is_answered_with_the_clients_identifier() -> None:
    isolated(_echo)


def _echo() -> None:
    allow()
    with World() as world:
        world.inbound(frames.echo_request(b"payload", identifier=4711, sequence=3))
        packet = completed(world.outbound()[0])
        check_sums(packet)
        reply = dpkt.ip.IP(packet)
        assert (reply.src, reply.dst, reply.ttl) == (packed(TARGET), packed(CLIENT), 64)
        assert (reply.icmp.type, reply.icmp.code) == (0, 0)
        assert (reply.icmp.data.id, reply.icmp.data.seq, reply.icmp.data.data) == (4711, 3, b"payload")
        assert world.drops() == {}


@needs_namespaces
def test_echo_is_answered_ipv6() -> None:
    isolated(_echo_ipv6)


def _echo_ipv6() -> None:
    allow()
    with World() as world:
        world.inbound(
            frames.echo_request(b"payload", source=CLIENT6, target=TARGET6, identifier=65535, sequence=9)
        )
        packet = completed(world.outbound()[0])
        check_sums(packet)
        assert (packet[8:24], packet[24:40]) == (packed(TARGET6), packed(CLIENT6))
        assert struct.unpack("!BBHHH", packet[40:48])[::3] == (129, 65535)
        assert packet[46:] == struct.pack("!H", 9) + b"payload"


@needs_namespaces
def test_sessions_do_not_mix() -> None:
    isolated(_sessions)


def _sessions() -> None:
    allow()
    with World() as world:
        for identifier in (1, 2):
            for target in (TARGET, "198.51.100.8"):
                world.inbound(
                    frames.echo_request(
                        target.encode(), target=target, identifier=identifier, sequence=identifier
                    )
                )
        assert world.sockets.open == 2
        replies = [dpkt.ip.IP(completed(frame)) for frame in world.outbound(4)]
        found = {(reply.src, reply.icmp.data.id, reply.icmp.data.data) for reply in replies}
        assert found == {
            (packed(target), identifier, target.encode())
            for identifier in (1, 2)
            for target in (TARGET, "198.51.100.8")
        }
        world.pass_time(10.1)
        assert world.sockets.open == 0


@needs_namespaces
def test_large_echo_comes_back_in_fragments() -> None:
    isolated(_large)


def _large() -> None:
    allow()
    with World() as world:
        world.inbound(frames.echo_request(bytes(4000), df=False))
        found = world.outbound(3)
        assert [len(frame) for frame in found] == [10 + 1500, 10 + 1500, 10 + 20 + 4008 - 2 * 1480]
        message = b"".join(frame[30:] for frame in found)
        assert frames.summed(message) == 0xFFFF


@needs_namespaces
def test_silent_target_stays_silent_and_unreachable_one_is_reported() -> None:
    isolated(_silence)


def _silence() -> None:
    allow("route add blackhole 203.0.113.0/25", "route add unreachable 203.0.113.128/25")
    with World() as world:
        world.inbound(frames.echo_request(b"x", target="203.0.113.200", identifier=8, sequence=2))
        packet = completed(world.outbound()[0])
        check_sums(packet)
        error = dpkt.ip.IP(packet)
        assert (error.icmp.type, error.icmp.code) == (3, 1)
        quoted = dpkt.ip.IP(packet[28:])
        assert (quoted.src, quoted.dst) == (packed(CLIENT), packed("203.0.113.200"))
        assert (quoted.icmp.type, quoted.icmp.data.id, quoted.icmp.data.seq) == (8, 8, 2)
        world.inbound(frames.echo_request(b"x", target="203.0.113.1"))
        world.settle()
        assert world.sink.frames == []


@needs_namespaces
def test_request_larger_than_the_path_becomes_fragmentation_needed() -> None:
    isolated(_path_mtu)


def _path_mtu() -> None:
    allow("link set lo mtu 1300")
    with World() as world:
        world.inbound(frames.echo_request(bytes(1400)))
        error = dpkt.ip.IP(completed(world.outbound()[0]))
        assert (error.icmp.type, error.icmp.code) == (3, 4)
        assert struct.unpack("!H", bytes(error.icmp)[6:8])[0] == 1300


@needs_namespaces
def test_host_without_ping_sockets_drops_and_counts() -> None:
    isolated(_forbidden)


def _forbidden() -> None:
    allow(ping=False)
    with World() as world:
        for _ in range(3):
            world.inbound(frames.echo_request(b"x"))
        assert world.drops() == {"echo_forbidden": 3}
        allow()
        world.pass_time(31)
        world.inbound(frames.echo_request(b"x"))
        assert len(world.outbound()) == 1


@needs_namespaces
def test_sessions_are_bounded() -> None:
    isolated(_bounded)


def _bounded() -> None:
    allow()
    with World() as world:
        for identifier in range(300):
            world.now += 1
            world.inbound(frames.echo_request(b"x", identifier=identifier))
        assert world.sockets.open == 256
        assert world.sockets.made[0].fileno() == -1


@needs_namespaces
def test_greedy_client_leaves_the_ping_of_another_alone() -> None:
    isolated(_greedy)


def _greedy() -> None:
    allow()
    with World() as world:
        world.inbound(frames.echo_request(b"x", source="10.0.0.9"))
        for identifier in range(1000):
            world.now += 1
            world.inbound(frames.echo_request(b"x", identifier=identifier))
        assert world.sockets.made[0].fileno() >= 0


def test_echo_to_nowhere_is_counted() -> None:
    with World() as world:
        world.inbound(frames.echo_request(b"x", target="127.0.0.1"))
        world.inbound(frames.echo_request(b"x", target="224.0.0.1"))
        world.inbound(frames.echo_request(b"x", source=CLIENT6, target="ff02::1"))
        assert world.drops() == {"martian_target": 1, "multicast": 2}
        assert world.sockets.made == []
