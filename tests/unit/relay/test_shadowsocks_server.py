"""Shadowsocks over TCP, as the server."""

import asyncio
import socket

import pytest

from tests.unit.relay.world import LOOPBACK, nobody, pair, run, service_of, target
from tunproxy.codecs.shadowsocks_address import emit_address
from tunproxy.codecs.shadowsocks_keys import client_keys
from tunproxy.codecs.shadowsocks_replay import SaltMemory
from tunproxy.codecs.shadowsocks_stream import ShadowsocksClient
from tunproxy.relay.metrics import OPEN
from tunproxy.relay.service import Service, shadowsocks_keys
from tunproxy.relay.shadowsocks_server import ShadowsocksServing

KEY = "AAECAwQFBgcICQoLDA0ODw=="
METHODS = [("2022-blake3-aes-128-gcm", KEY), ("aes-128-gcm", "fish"), ("chacha20-ietf-poly1305", "fish")]
CONFIG = LOOPBACK + '[limits]\nhandshake = 1\n[shadowsocks]\nlisten = []\nmethod = "{}"\npassword = "{}"\n'


def serving_of(service: Service, salts: SaltMemory | None = None) -> ShadowsocksServing:
    is_2022 = shadowsocks_keys(service.config).method.is_2022
    return ShadowsocksServing(service.config, service, salts or SaltMemory(is_2022))


def begin(service: Service, serving: ShadowsocksServing) -> tuple[socket.socket, asyncio.Task[None]]:
    ours, theirs = pair()
    service.tally.add(OPEN)
    return theirs, asyncio.create_task(serving.connection(ours, "test:1").serve())


@pytest.mark.parametrize(("method", "password"), METHODS)
def test_stream_passes_both_ways_and_is_taken_once(method: str, password: str) -> None:
    async def talk() -> None:
        service = service_of(CONFIG.format(method, password))
        serving = serving_of(service)
        with target() as (listener, port):
            codec = ShadowsocksClient(
                client_keys(method, password), emit_address(bytes([127, 0, 0, 1]), port)
            )
            said = codec.encode(b"hello")
            client, task = begin(service, serving)
            client.sendall(said)
            theirs = await asyncio.to_thread(lambda: listener.accept()[0])
            assert await asyncio.to_thread(theirs.recv, 100) == b"hello"
            theirs.sendall(b"answer")
            assert codec.decode(await asyncio.to_thread(client.recv, 1000)) == b"answer"
            theirs.close()
            assert await asyncio.to_thread(client.recv, 1000) == b""
            client.close()
            await task
            again, task = begin(service, serving)  # somebody has recorded it
            again.sendall(said)
            assert await asyncio.to_thread(again.recv, 1000) == b""
            await task
            again.close()
        assert service.tally._board.total(OPEN) == 0
        service.close()

    run(talk)


@pytest.mark.parametrize(("method", "password"), METHODS)
def test_who_has_not_got_the_key_hears_nothing_until_the_time_is_over(method: str, password: str) -> None:
    async def talk() -> None:
        service = service_of(CONFIG.format(method, password))
        client, task = begin(service, serving_of(service))
        client.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
        began = asyncio.get_running_loop().time()
        try:
            assert await asyncio.to_thread(client.recv, 100) == b""
        except ConnectionResetError:
            pass
        assert asyncio.get_running_loop().time() - began > 0.7
        await task
        client.close()
        service.close()

    run(talk)


def test_target_that_cannot_be_reached_is_a_reset() -> None:
    async def talk() -> None:
        method, password = METHODS[0]
        service = service_of(CONFIG.format(method, password))
        serving = serving_of(service)
        for address in (bytes([127, 0, 0, 1]), bytes([10, 0, 0, 1])):
            codec = ShadowsocksClient(client_keys(method, password), emit_address(address, nobody()))
            client, task = begin(service, serving)
            client.sendall(codec.encode(b"hello"))
            with pytest.raises(ConnectionResetError):
                await asyncio.to_thread(client.recv, 100)
            await task
            client.close()
        service.close()

    run(talk)
