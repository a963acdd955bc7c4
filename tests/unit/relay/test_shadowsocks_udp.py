"""Shadowsocks over UDP, as the server."""

import asyncio
import copy
import socket

import pytest

from tests.unit.relay.test_shadowsocks_server import CONFIG, METHODS
from tests.unit.relay.world import WITHIN, run, service_of, target
from tunproxy.codecs.shadowsocks_address import emit_address
from tunproxy.codecs.shadowsocks_keys import client_keys
from tunproxy.codecs.shadowsocks_packet import PacketClient
from tunproxy.relay.addresses import Listen
from tunproxy.relay.desks import Desk, Desks
from tunproxy.relay.metrics import DATAGRAMS_DROPPED, FLOWS_OPEN
from tunproxy.relay.service import Service
from tunproxy.relay.shadowsocks_udp import ShadowsocksDatagrams
from tunproxy.relay.shared_sessions import SharedSessions

ALL_METHODS = [*METHODS, ("2022-blake3-chacha20-poly1305", "AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkKCwwNDg8=")]


def desks(service: Service, workers: int, places: int = 1) -> list[Desk]:
    """Return the desks of workers, all in this process: each takes its own as after a fork."""
    found = []
    for _ in range(places):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            found.append(Listen("127.0.0.1", sock.getsockname()[1]))
    made = Desks(service.config, found, workers)
    outboxes = [outbox for _, outbox in made._inboxes]
    return [
        Desk(number, made._socks[number], made._inboxes[number][0], outboxes,
             as_worker(made._sessions, number), made._salts)
        for number in range(workers)
    ]  # fmt: skip


def as_worker(sessions: SharedSessions, number: int) -> SharedSessions:
    """Return the same memory as another worker has it."""
    made = copy.copy(sessions)
    made.number = number
    return made


class Workers:
    """Two workers, and clients that choose which of them hears them."""

    def __init__(self, method: str, password: str, places: int = 1) -> None:
        self.service = service_of(CONFIG.format(method, password))
        self.board = self.service.tally._board
        self.desks = desks(self.service, 2, places)
        self.servers = [ShadowsocksDatagrams(desk, self.service.config, self.service) for desk in self.desks]

    def client_of(self, number: int, place: int = 0) -> socket.socket:
        """Return a client's socket of which the kernel gives everything to this worker."""
        at = self.desks[0].socks[place].getsockname()
        for desk in self.desks:
            asyncio.get_running_loop().remove_reader(desk.socks[place].fileno())
        try:
            while True:
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sock.settimeout(WITHIN)
                sock.connect(at)
                sock.send(b"")
                for worker, desk in enumerate(self.desks):
                    try:
                        desk.socks[place].recv(10)
                    except BlockingIOError:
                        continue
                    if worker == number:
                        return sock
                sock.close()
        finally:
            for server, desk in zip(self.servers, self.desks, strict=True):
                asyncio.get_running_loop().add_reader(
                    desk.socks[place].fileno(), server._on_datagrams, place, desk.socks[place]
                )

    async def dropped(self, count: int) -> None:
        while self.board.total(DATAGRAMS_DROPPED) < count:
            await asyncio.sleep(0.01)

    def close(self) -> None:
        for server in self.servers:
            server.close()
        self.service.close()


@pytest.mark.parametrize(("method", "password"), [each for each in ALL_METHODS if each[0].startswith("2022")])
def test_session_whose_client_moves_to_another_workers_port_stays_what_it_is(
    method: str, password: str
) -> None:
    """SIP022 §3.2.4: it survives changes of the client's network. Its targets notice nothing."""

    async def talk() -> None:
        workers = Workers(method, password)
        client = PacketClient(client_keys(method, password))
        with target(socket.SOCK_DGRAM) as (sock, port):
            address = emit_address(bytes([127, 0, 0, 1]), port)
            senders = set()
            for number in (0, 1, 1, 0):
                ours = workers.client_of(number)
                ours.send(client.seal(address, b"hello"))
                heard, sender = await asyncio.to_thread(sock.recvfrom, 65535)
                assert heard == b"hello"
                senders.add(sender)
                sock.sendto(b"answer", sender)
                assert client.unseal(await asyncio.to_thread(ours.recv, 65535)) == address + b"answer"
                ours.close()
            assert len(senders) == 1
        assert [len(server) for server in workers.servers] == [1, 0]
        assert workers.board.total(DATAGRAMS_DROPPED) == 0
        workers.close()

    run(talk)


@pytest.mark.parametrize(("method", "password"), ALL_METHODS)
@pytest.mark.parametrize("is_forgotten", [False, True])
def test_datagram_is_taken_once_by_whichever_worker_and_place(
    method: str, password: str, is_forgotten: bool
) -> None:
    """Also by the one that has let the client go."""

    async def talk() -> None:
        workers = Workers(method, password, places=2)
        client = PacketClient(client_keys(method, password))
        with target(socket.SOCK_DGRAM) as (sock, port):
            address = emit_address(bytes([127, 0, 0, 1]), port)
            sealed = client.seal(address, b"hello")
            with workers.client_of(0) as ours:
                ours.send(sealed)
            assert (await asyncio.to_thread(sock.recvfrom, 65535))[0] == b"hello"
            if is_forgotten:
                later = asyncio.get_running_loop().time() + workers.service.config.limits.udp_idle + 1
                for server in workers.servers:
                    server.forget_idle(later)
                    assert len(server) == 0
            dropped = 0
            for number in (0, 1):
                for place in (0, 1):
                    with workers.client_of(number, place) as thief:
                        thief.send(sealed)
                    dropped += 1
                    await workers.dropped(dropped)
            with workers.client_of(1) as ours:
                ours.send(client.seal(address, b"goes on"))
            assert (await asyncio.to_thread(sock.recvfrom, 65535))[0] == b"goes on"
            assert workers.board.total(DATAGRAMS_DROPPED) == dropped
        workers.close()

    run(talk)


@pytest.mark.parametrize(("method", "password"), METHODS)
def test_datagrams_pass_both_ways_until_they_are_idle(method: str, password: str) -> None:
    async def talk() -> None:
        service = service_of(CONFIG.format(method, password))
        board = service.tally._board
        with target(socket.SOCK_DGRAM) as (sock, port), target(socket.SOCK_DGRAM) as (ours, _):
            desk = desks(service, 1)[0]
            at = desk.socks[0].getsockname()
            server = ShadowsocksDatagrams(desk, service.config, service)
            client = PacketClient(client_keys(method, password))
            address = emit_address(bytes([127, 0, 0, 1]), port)
            for payload in (b"hello", bytes(8000)):
                sealed = client.seal(address, payload)
                ours.sendto(sealed, at)
                heard, sender = await asyncio.to_thread(sock.recvfrom, 65535)
                assert heard == payload
                sock.sendto(b"answer", sender)
                answer = await asyncio.to_thread(ours.recvfrom, 65535)
                assert client.unseal(answer[0]) == address + b"answer"
            ours.sendto(sealed, at)  # the same once more
            ours.sendto(b"garbage" * 20, at)
            ours.sendto(client.seal(emit_address(bytes([10, 0, 0, 1]), 53), b"nobody may"), at)
            while board.total(DATAGRAMS_DROPPED) < 3:
                await asyncio.sleep(0.01)
            assert len(server) == 1
            server.forget_idle(asyncio.get_running_loop().time() + service.config.limits.udp_idle - 1)
            assert len(server) == 1
            server.forget_idle(asyncio.get_running_loop().time() + service.config.limits.udp_idle + 1)
            assert len(server) == 0
            assert board.of_user(1, FLOWS_OPEN) == 0
            server.close()
        service.close()

    run(talk)
