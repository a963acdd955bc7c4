"""Shadowsocks over UDP, as the server."""

import asyncio
import socket

import pytest

from tests.unit.relay.test_shadowsocks_server import CONFIG, METHODS
from tests.unit.relay.world import run, service_of, target
from tunproxy.codecs.shadowsocks_address import emit_address
from tunproxy.codecs.shadowsocks_keys import client_keys
from tunproxy.codecs.shadowsocks_packet import PacketClient
from tunproxy.relay.metrics import DATAGRAMS_DROPPED, FLOWS_OPEN
from tunproxy.relay.shadowsocks_udp import ShadowsocksDatagrams


@pytest.mark.parametrize(("method", "password"), METHODS)
def test_datagrams_pass_both_ways_until_they_are_idle(method: str, password: str) -> None:
    async def talk() -> None:
        service = service_of(CONFIG.format(method, password))
        board = service.tally._board
        with target(socket.SOCK_DGRAM) as (sock, port), target(socket.SOCK_DGRAM) as (ours, _):
            listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            listening.bind(("127.0.0.1", 0))
            at = listening.getsockname()
            server = ShadowsocksDatagrams(listening, service.config, service)
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
