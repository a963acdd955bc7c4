"""The table of associations, with real sockets on loopback."""

import socket
import struct

import pytest

from tests.unit.datagram.world import SECOND, Sockets, World, both_families
from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, TARGET
from tunproxy import version
from tunproxy.datagram.context import MAX_OF_SOURCE


class Cheap(Sockets):
    """Sockets that are no more than a descriptor, for tests that want many."""

    def udp(self, family: int) -> socket.socket:
        self.made = [sock for sock in self.made if sock.fileno() >= 0] if len(self.made) > 9000 else self.made
        self.made.append(Swallower(socket.AF_UNIX, socket.SOCK_DGRAM))
        return self.made[-1]


class Swallower(socket.socket):
    """Takes every datagram and every option."""

    def sendto(self, *payload_and_address: object) -> int:  # type: ignore[override]
        return 0

    def setsockopt(self, *option: object) -> None:  # type: ignore[override]
        pass


def datagram_from(port: int) -> bytes:
    """Return a client's packet to port 9 of a target; without a checksum, as dpkt is slow."""
    packet = bytearray(frames.udp(b"x", source=(CLIENT, 1), target=("198.51.100.8", 9))[10:])
    packet[20:22] = struct.pack("!H", port)
    packet[26:28] = b"\0\0"
    return bytes(packet)


@both_families
def test_datagram_and_answer_pass_both_ways(target: str) -> None:
    with World() as world:
        peer = world.peer(target)
        world.send(b"question", to=peer)
        data, address = peer.receive()
        peer.sock.sendto(b"answer", address)
        [answer] = world.received()
    assert data == b"question"
    assert (answer.source, answer.source_port) == peer.end
    assert (answer.destination, answer.destination_port) == (world.client_of(target), 5000)
    assert answer.payload == b"answer"
    assert answer.gso_size == 0
    assert world.drops() == {}


def test_targets_of_one_port_see_the_same_source() -> None:
    with World() as world:
        first, second = world.peer(TARGET), world.peer("198.51.100.8")
        world.send(b"1", to=first)
        world.send(b"2", to=second)
        assert first.receive()[1][1] == second.receive()[1][1]
        assert len(world.table) == 1


def test_ports_of_one_client_see_different_sources() -> None:
    with World() as world:
        peer = world.peer()
        world.send(b"1", to=peer, port=5000)
        world.send(b"2", to=peer, port=5001)
        assert peer.receive()[1] != peer.receive()[1]
        assert len(world.table) == 2


@pytest.mark.parametrize("wish", [b"", b"x", bytes(1472), bytes(65507)], ids=len)
def test_datagram_of_any_size_arrives_whole(wish: bytes) -> None:
    with World(mtu=1500) as world:
        peer = world.peer()
        world.inbound(frames.udp(wish, target=peer.end))
        assert peer.receive()[0] == wish


def test_equal_datagrams_of_a_batch_leave_as_one() -> None:
    sent = [bytes([number]) * 1200 for number in range(8)]
    with World() as world:
        peer = world.peer(gro=True)
        world.send(*sent, to=peer)
        assert peer.receive_joined() == (b"".join(sent), 1200)


def test_shorter_datagram_ends_what_is_gathered() -> None:
    with World() as world:
        peer = world.peer(gro=True)
        world.send(b"a" * 100, b"b" * 100, b"c" * 40, b"d" * 100, to=peer)
        assert peer.receive_joined() == (b"a" * 100 + b"b" * 100 + b"c" * 40, 100)
        assert peer.receive_joined()[0] == b"d" * 100


def test_larger_datagram_is_not_cut() -> None:
    with World() as world:
        peer = world.peer()
        world.send(b"a" * 100, b"b" * 100, b"c" * 140, to=peer)
        world.send(b"d" * 1000, to=peer)
        assert [len(peer.receive()[0]) for _ in range(4)] == [100, 100, 140, 1000]


def test_more_than_one_send_takes_keeps_order() -> None:
    sent = [struct.pack("!I", number) * 10 for number in range(150)]
    with World() as world:
        peer = world.peer()
        world.send(*sent, to=peer)
        assert [peer.receive()[0] for _ in sent] == sent


def test_other_hop_limit_or_class_is_sent_apart() -> None:
    with World() as world:
        peer = world.peer(gro=True)
        world.inbound(
            frames.udp(b"a" * 50, target=peer.end),
            frames.udp(b"b" * 50, target=peer.end, hop_limit=9),
            frames.udp(b"c" * 50, target=peer.end, hop_limit=9, traffic_class=0x28),
        )
        assert [peer.receive_joined()[0][:1] for _ in range(3)] == [b"a", b"b", b"c"]


def test_empty_datagrams_are_not_lost() -> None:
    with World() as world:
        peer = world.peer()
        world.send(b"", b"", b"x", b"", to=peer)
        assert [peer.receive()[0] for _ in range(4)] == [b"", b"", b"x", b""]
        for payload in (b"", b"", b"y", b""):
            peer.sock.sendto(payload, ("127.0.0.1", world.sockets.made[0].getsockname()[1]))
        assert [packet.payload for packet in world.received(4)] == [b"", b"", b"y", b""]


@both_families
def test_super_packet_leaves_as_it_came(target: str) -> None:
    payload = bytes(range(250)) * 200
    with World() as world:
        peer = world.peer(target, gro=True)
        frame = frames.udp_super(payload, 1200, source=(world.client_of(target), 5000), target=peer.end)
        world.inbound(frame)
        got = b""
        while len(got) < len(payload):
            data, size = peer.receive_joined()
            assert size == 1200
            got += data
    assert got == payload


def test_super_packet_stays_behind_what_was_gathered() -> None:
    with World() as world:
        peer = world.peer()
        world.inbound(
            frames.udp(b"1" * 10, target=peer.end),
            frames.udp_super(b"2" * 20 + b"3" * 20, 20, target=peer.end),
        )
        assert [peer.receive()[0][:1] for _ in range(3)] == [b"1", b"2", b"3"]


def test_super_packet_with_one_piece_is_a_datagram() -> None:
    with World() as world:
        peer = world.peer()
        world.inbound(frames.udp_super(b"x" * 100, 1200, target=peer.end))
        assert peer.receive()[0] == b"x" * 100


def test_header_options_do_not_hide_the_ports() -> None:
    with World() as world:
        peer = world.peer()
        plain = frames.udp(b"data", target=peer.end)
        header = bytearray(plain[10:30] + bytes([1, 1, 1, 0]))
        header[0] = 0x46
        header[2:4] = struct.pack("!H", len(plain) - 10 + 4)
        header[10:12] = b"\0\0"
        header[10:12] = struct.pack("!H", ~frames.summed(bytes(header)) & 0xFFFF)
        world.inbound(plain[:10] + bytes(header) + plain[30:])
        world.inbound(plain)
        assert [peer.receive()[0] for _ in range(2)] == [b"data"] * 2
        assert len(world.table) == 1


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (frames.udp(b"x", target=("127.0.0.1", 53)), "martian_target"),
        (frames.udp(b"x", target=("0.0.0.0", 53)), "martian_target"),
        (frames.udp(b"x", source=(frames.CLIENT6, 5), target=("::1", 53)), "martian_target"),
        (frames.udp(b"x", source=(frames.CLIENT6, 5), target=("::ffff:10.0.0.1", 53)), "martian_target"),
        (frames.udp(b"x", target=("224.0.0.251", 5353)), "multicast"),
        (frames.udp(b"x", target=("255.255.255.255", 67)), "multicast"),
        (frames.udp(b"x", source=(frames.CLIENT6, 5), target=("ff02::fb", 5353)), "multicast"),
        (frames.udp(b"x", source=("127.0.0.1", 5), target=(TARGET, 53)), "martian_source"),
        (frames.udp(b"x", source=(CLIENT, 5), target=(CLIENT, 53)), "land"),
        (frames.udp(b"x", target=(TARGET, 0)), "bad_port"),
        (frames.udp(b"x")[:-1] + b"y", "bad_checksum"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_datagram_that_goes_nowhere_is_counted(frame: bytes, reason: str) -> None:
    with World() as world:
        world.inbound(frame)
        assert world.drops() == {reason: 1}
        assert world.sockets.made == []
        assert world.sink.frames == []


def test_super_packet_of_another_kind_is_counted() -> None:
    with World() as world:
        frame = bytearray(frames.udp_super(b"x" * 50, 20))
        frame[1] = 1
        world.inbound(bytes(frame))
        assert sum(world.drops().values()) == 1


@pytest.mark.parametrize(
    ("port", "seconds"), [(53, 10), (123, 10), (3478, 10), (443, 30), (7000, 300)], ids=str
)
def test_idle_association_closes_after_its_time(port: int, seconds: int) -> None:
    with World() as world:
        world.inbound(frames.udp(b"x", target=("198.51.100.8", port)))
        world.pass_time(seconds - 0.1)
        assert world.sockets.open == 1
        world.pass_time(0.2)
        assert world.sockets.open == 0
        assert len(world.table) == 0


def test_association_with_several_kinds_takes_the_longest() -> None:
    with World() as world:
        for port in (443, 53):
            world.inbound(frames.udp(b"x", target=("198.51.100.8", port)))
        world.pass_time(20)
        assert len(world.table) == 1
        world.pass_time(11)
        assert len(world.table) == 0


def test_use_in_either_direction_keeps_an_association() -> None:
    with World(udp_timeout=10 * SECOND) as world:
        peer = world.peer()
        world.send(b"1", to=peer)
        _, address = peer.receive()
        world.pass_time(9)
        world.send(b"2", to=peer)
        world.pass_time(9)
        peer.sock.sendto(b"3", address)
        world.received()
        world.pass_time(9)
        assert len(world.table) == 1
        world.pass_time(2)
        assert len(world.table) == 0


def test_udp_timeout_shorter_than_a_port_wants_wins() -> None:
    with World(udp_timeout=SECOND) as world:
        world.inbound(frames.udp(b"x", target=("198.51.100.8", 443)))
        world.pass_time(1.1)
        assert len(world.table) == 0


def test_full_table_closes_the_least_recently_used() -> None:
    with World(max_associations=3) as world:
        peer = world.peer()
        for port in (1, 2, 3):
            world.send(b"x", to=peer, port=port)
            world.now += 1
        world.send(b"x", to=peer, port=1)
        world.send(b"x", to=peer, port=4)
        assert len(world.table) == 3
        assert world.sockets.made[1].fileno() == -1
        assert world.sockets.open == 3


def test_greedy_client_makes_room_for_itself() -> None:
    with World(max_associations=600) as world:
        peer = world.peer()
        world.inbound(frames.udp(b"x", source=("10.0.0.9", 1), target=peer.end))
        for port in range(1, 640):
            world.now += 1
            world.send(b"x", to=peer, port=port)
        assert world.sockets.made[0].fileno() >= 0
        assert len(world.table) == 600


def test_client_with_sixty_thousand_ports_leaves_the_others_alone() -> None:
    with World(sockets=Cheap()) as world:
        world.inbound(frames.udp(b"x", source=("10.0.0.9", 1), target=("198.51.100.8", 9)))
        count = 60_000 if version.is_compiled() else 5_000
        for port in range(1024, 1024 + count):
            world.now += 1
            frame = frames.PLAIN + datagram_from(port)
            world.table.on_udp(frame, frames.parsed(frame), world.now)
        world.table.end_batch(world.now)
        assert world.sockets.made[0].fileno() >= 0
        assert len(world.table) == 1 + MAX_OF_SOURCE
        assert world.sockets.open == 1 + MAX_OF_SOURCE
        assert len(world.poller.deadlines) < 10, "who is gone leaves nothing behind"
        assert world.drops() == {}


def test_what_was_gathered_leaves_before_its_association_gives_way() -> None:
    with World(max_associations=1) as world:
        peer = world.peer()
        for port in (1, 2):
            world.now += 1
            world.inbound(frames.udp(bytes([port]), source=(CLIENT, port), target=peer.end), batch=port == 2)
        assert sorted(peer.receive()[0] for _ in range(2)) == [b"\1", b"\2"]


def test_no_descriptor_left_closes_the_least_recently_used() -> None:
    with World() as world:
        peer = world.peer()
        world.send(b"1", to=peer, port=1)
        world.sockets.fails = 1
        world.send(b"2", to=peer, port=2)
        assert [peer.receive()[0] for _ in range(2)] == [b"1", b"2"]
        assert world.sockets.open == 1


def test_no_descriptor_at_all_is_counted() -> None:
    with World() as world:
        world.sockets.fails = 9
        world.inbound(frames.udp(b"x"))
        assert world.drops() == {"table_full": 1}


def test_close_forgets_gathered_datagrams() -> None:
    with World() as world:
        peer = world.peer()
        world.inbound(frames.udp(b"x", target=peer.end), batch=False)
        world.table.close()
        world.table.end_batch(world.now)
        assert peer.is_idle()


def test_icmp_other_than_echo_is_counted() -> None:
    with World() as world:
        message = bytearray(frames.echo_request(b"x"))
        message[30] = 13  # timestamp
        message[32:34] = struct.pack("!H", (struct.unpack("!H", message[32:34])[0] - 0x500) % 0xFFFF)
        world.inbound(bytes(message))
        assert world.drops() == {"unhandled_icmp": 1}


@pytest.mark.parametrize("target", [TARGET, frames.TARGET6])
def test_icmp_of_the_other_family_is_counted(target: str) -> None:
    source = frames.CLIENT6 if ":" in target else CLIENT
    frame = frames.PLAIN + frames.ip(
        b"\x08\0\0\0\0\0\0\0", 1 if ":" in target else 58, source=source, target=target
    )
    with World() as world:
        world.inbound(frame)
        assert world.drops() == {"unknown_protocol": 1}


def test_icmp_with_a_wrong_sum_is_counted() -> None:
    with World() as world:
        world.inbound(frames.echo_request(b"x")[:-1] + b"y")
        assert world.drops() == {"bad_checksum": 1}
