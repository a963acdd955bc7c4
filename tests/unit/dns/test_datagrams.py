"""Port 53 over UDP: from the packet path to the server, and back."""

import asyncio

from tests.unit.dns.world import (
    CLIENT,
    OTHER,
    Clock,
    Scripted,
    Turns,
    address_of,
    never,
    query,
    read,
    run,
    server_of,
    texts,
)
from tests.unit.waiting import until
from tunproxy.dns.datagrams import DnsDatagrams
from tunproxy.flow.ports import DatagramReply

RESOLVER = bytes((192, 0, 2, 53))


class Reply(DatagramReply):
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, payload: bytes) -> None:
        self.sent.append(payload)


def hand(service: DnsDatagrams, payload: bytes, client: bytes = CLIENT) -> Reply:
    reply = Reply()
    service.on_datagram(client, 5000, RESOLVER, 53, payload, reply)
    return reply


def test_known_answer_goes_back_at_once_and_another_later() -> None:
    async def test() -> None:
        turns = Turns()
        service = DnsDatagrams(
            asyncio.get_running_loop(), turns, server_of(Scripted(address_of("192.0.2.1")), now=Clock())
        )
        later = hand(service, query())
        assert (later.sent, turns.count) == ([], 1)
        await until(lambda: later.sent)
        assert texts(later.sent[0]) == ["www.example 300 A 192.0.2.1"]
        now = hand(service, query(id=9))
        assert (read(now.sent[0]).id, turns.count) == (9, 1)

    run(test())


def test_what_is_no_query_has_no_answer() -> None:
    async def test() -> None:
        service = DnsDatagrams(asyncio.get_running_loop(), Turns(), server_of(Scripted(never)))
        assert (
            hand(service, b"").sent == hand(service, bytes(5)).sent == hand(service, b"\xff" * 40).sent == []
        )
        [error] = hand(service, query()[:-1]).sent
        assert read(error).rcode() == 1

    run(test())


def test_burst_of_one_client_is_bounded_before_any_task_runs() -> None:
    async def test() -> None:
        server = server_of(Scripted(never), attempt=0.02, max_of_client=10)
        service = DnsDatagrams(asyncio.get_running_loop(), Turns(), server)
        replies = [hand(service, query(f"n{number}.example")) for number in range(100)]
        assert sum(len(reply.sent) for reply in replies) == 90
        other = hand(service, query(), OTHER)
        assert other.sent == []
        await until(lambda: all(reply.sent for reply in (*replies, other)))
        assert [len(reply.sent) for reply in replies] == [1] * 100
        await until(lambda: server.statistics()["open"] == 0)

    run(test())


def test_spared_targets_and_a_closed_service_are_left_to_others() -> None:
    async def test() -> None:
        service = DnsDatagrams(
            asyncio.get_running_loop(),
            Turns(),
            server_of(Scripted(never), attempt=5),
            spared=frozenset([RESOLVER]),
        )
        assert service.port == 53
        assert not service.takes(RESOLVER, 53)
        assert service.takes(bytes(4), 53)
        reply = hand(service, query())
        service.close()
        assert not service.takes(bytes(4), 53)
        await asyncio.sleep(0.01)
        assert reply.sent == []
        await service._server.close()

    run(test())


def test_new_server_answers_from_now_on() -> None:
    async def test() -> None:
        clock = Clock()
        service = DnsDatagrams(
            asyncio.get_running_loop(), Turns(), server_of(Scripted(address_of("192.0.2.1")), now=clock)
        )
        first = hand(service, query())
        service.replace(server_of(Scripted(address_of("192.0.2.2")), now=clock))
        second = hand(service, query())
        await until(lambda: first.sent and second.sent)
        assert texts(first.sent[0]) == ["www.example 300 A 192.0.2.1"]
        assert texts(second.sent[0]) == ["www.example 300 A 192.0.2.2"]

    run(test())
