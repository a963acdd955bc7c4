"""Datagrams that somebody here answers: handed over whole, answered as from their target, no trace left."""

import socket
import subprocess

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.datagram.test_decisions import Deciding
from tests.unit.datagram.world import World, both_families
from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, TARGET, packed
from tunproxy.flow.ports import DatagramReply, DatagramService
from tunproxy.flow.verdict import REJECT, Verdict


class Service(DatagramService):
    """Remembers what it got; answers at once with what it was told to."""

    def __init__(self, port: int = 53, answers: bool = True, spared: str = "") -> None:
        super().__init__(port)
        self.got: list[tuple[bytes, int, bytes, int, bytes]] = []
        self.replies: list[DatagramReply] = []
        self.answers = answers
        self.spared = packed(spared) if spared else b""

    def takes(self, target: bytes, target_port: int) -> bool:
        return target != self.spared

    def on_datagram(
        self,
        client: bytes,
        client_port: int,
        target: bytes,
        target_port: int,
        payload: bytes,
        reply: DatagramReply,
    ) -> None:
        self.got.append((client, client_port, target, target_port, payload))
        self.replies.append(reply)
        if self.answers:
            reply.send(b"re: " + payload)


@both_families
def test_datagram_is_answered_as_from_the_target(target: str) -> None:
    service = Service()
    with World(service=service) as world:
        client = world.client_of(target)
        world.inbound(frames.udp(b"query", source=(client, 5000), target=(target, 53)))
        [answer] = world.received()
        assert service.got == [(packed(client), 5000, packed(target), 53, b"query")]
        assert (answer.source, answer.source_port) == (target, 53)
        assert (answer.destination, answer.destination_port) == (client, 5000)
        assert answer.payload == b"re: query"
        assert len(world.table) == world.table.statistics()["paths"] == 0
        assert world.sockets.made == []
        assert world.drops() == {}


def test_answer_may_come_later_and_any_number_of_times() -> None:
    service = Service(answers=False)
    with World(service=service) as world:
        world.inbound(
            frames.udp(b"a", target=(TARGET, 53)),
            frames.udp(b"b", source=(CLIENT, 5001), target=(TARGET, 53)),
        )
        assert world.sink.frames == []
        service.replies[1].send(b"2")
        service.replies[0].send(b"1")
        service.replies[0].send(b"1 again")
        answers = world.received(3)
        assert [(each.destination_port, each.payload) for each in answers] == [
            (5001, b"2"), (5000, b"1"), (5000, b"1 again"),
        ]  # fmt: skip


def test_answer_after_the_end_goes_nowhere() -> None:
    service = Service(answers=False)
    with World(service=service) as world:
        world.inbound(frames.udp(b"a", target=(TARGET, 53)))
        world.table.close()
        service.replies[0].send(b"late")
        assert world.sink.frames == []


def test_long_answer_goes_in_fragments_and_one_too_long_for_any_datagram_not_at_all() -> None:
    service = Service(answers=False)
    with World(service=service) as world:
        world.inbound(frames.udp(b"a", target=(TARGET, 53)))
        service.replies[0].send(bytes(4000))
        assert len(world.sink.frames) == 3
        service.replies[0].send(bytes(70_000))
        assert len(world.sink.frames) == 3


@pytest.mark.parametrize("sizes", [[30, 30, 30], [30, 30, 7], [30]])
def test_super_packet_is_taken_apart(sizes: list[int]) -> None:
    service = Service()
    payload = b"".join(bytes([65 + number]) * size for number, size in enumerate(sizes))
    with World(service=service) as world:
        world.inbound(frames.udp_super(payload, 30, target=(TARGET, 53)))
    assert [got[4] for got in service.got] == [
        bytes([65 + number]) * size for number, size in enumerate(sizes)
    ]


def test_empty_datagram_is_handed_over() -> None:
    service = Service()
    with World(service=service) as world:
        world.inbound(frames.udp(b"", target=(TARGET, 53)))
    assert [got[4] for got in service.got] == [b""]


def test_other_ports_and_spared_targets_go_out() -> None:
    other = "198.51.100.8"
    service = Service(spared=other)
    with World(service=service) as world:
        peer = world.peer()
        world.send(b"out", to=peer)
        assert peer.receive()[0] == b"out"
        world.inbound(frames.udp(b"spared", target=(other, 53)))
        assert service.got == []
        assert world.table.statistics()["paths"] == 2


def test_nobody_decides_about_what_is_answered_here() -> None:
    decider = Deciding(port53=Verdict(REJECT, "no"))
    service = Service()
    with World(service=service, decider=decider) as world:
        world.inbound(frames.udp(b"query", target=(TARGET, 53)))
        assert len(service.got) == 1
        assert decider.asked == []


def test_martians_and_groups_are_refused_as_ever() -> None:
    service = Service()
    with World(service=service) as world:
        world.inbound(frames.udp(b"x", target=("224.0.0.251", 53)))
        world.inbound(frames.udp(b"x", source=("127.0.0.1", 5000), target=(TARGET, 53)))
        assert service.got == []
        assert world.drops() == {"multicast": 1, "martian_source": 1}


@needs_namespaces
def test_peer_that_writes_from_the_services_port_opens_no_way_round_it() -> None:
    """Whoever is written to may have others answer; one with port 53 has a path for his datagrams only."""
    isolated(_answered_from_the_services_port)


def _answered_from_the_services_port() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    other = "198.51.100.9"
    for address in ("198.51.100.1", other):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    service = Service()
    with World(service=service) as world, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
        elsewhere.bind((other, 53))
        first = world.peer()
        world.send(b"hello", to=first)
        _, (_, port) = first.receive()
        elsewhere.sendto(b"from elsewhere", ("198.51.100.1", port))
        [datagram] = world.received()
        assert (datagram.source, datagram.source_port, datagram.payload) == (other, 53, b"from elsewhere")
        world.inbound(frames.udp(b"back", target=(other, 53)))
        assert [got[4] for got in service.got] == [b"back"]
