"""Datagrams in a stream of capsules."""

import asyncio
import socket

import pytest

from tests.unit.codecs.answering import Answering
from tests.unit.relay.world import LOOPBACK, Client, nobody, pair, run, service_of, target
from tunproxy.codecs.capsules import CapsuleReader, emit_datagram
from tunproxy.relay.connect_udp import MOST_UNSENT, UdpTunnel
from tunproxy.relay.metrics import DATAGRAMS_DOWN, DATAGRAMS_DROPPED, DATAGRAMS_UP, OPEN
from tunproxy.relay.service import Service
from tunproxy.relay.stream import Stream


def ask(port: int) -> bytes:
    fields = "Host: x\r\nConnection: Upgrade\r\nUpgrade: connect-udp\r\nCapsule-Protocol: ?1"
    return f"GET /.well-known/masque/udp/127.0.0.1/{port}/ HTTP/1.1\r\n{fields}\r\n\r\n".encode()


async def opened(service: Service, port: int) -> Client:
    client = Client(service)
    await client.send(ask(port))
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")
    return client


async def ended(client: Client, service: Service) -> None:
    await client.task
    assert not service.going
    assert service.tally._board.total(OPEN) == 0
    client.sock.close()
    service.close()


def test_datagrams_pass_both_ways() -> None:
    async def talk() -> None:
        service = service_of()
        with target(socket.SOCK_DGRAM) as (sock, port):
            client = await opened(service, port)
            for payload in (b"", b"hello", bytes(9000)):
                await client.send(emit_datagram(payload))
                heard, sender = await asyncio.to_thread(sock.recvfrom, 65535)
                assert heard == payload
                sock.sendto(payload[::-1], sender)
                answer = await client.exactly(len(emit_datagram(payload)))
                assert CapsuleReader().take(answer) == [payload[::-1]]
            assert service.tally._board.total(DATAGRAMS_UP) == 3
            assert service.tally._board.total(DATAGRAMS_DOWN) == 3
            client.sock.shutdown(socket.SHUT_WR)
            await ended(client, service)

    run(talk)


def test_stream_that_is_none_ends_the_tunnel() -> None:
    async def talk() -> None:
        service = service_of()
        with target(socket.SOCK_DGRAM) as (_, port):
            client = await opened(service, port)
            await client.send(b"\x00\xc0\x00\x00\x00\xff\xff\xff\xff")
            try:
                assert await client.to_end() == b""
            except ConnectionResetError:  # an end is as good
                pass
            await ended(client, service)

    run(talk)


def test_target_that_refuses_ends_the_tunnel() -> None:
    """RFC 9298 §3.1: the stream is closed where the socket says that it is of no use any more."""

    async def talk() -> None:
        service = service_of()
        client = await opened(service, nobody())
        await client.send(emit_datagram(b"hello"))
        assert await client.to_end() == b""
        await ended(client, service)

    run(talk)


def test_datagram_that_is_too_large_is_dropped_and_not_fragmented() -> None:
    """RFC 9298 §3.1; the tunnel goes on."""

    async def talk() -> None:
        service = service_of()
        with target(socket.SOCK_DGRAM) as (sock, port):
            client = await opened(service, port)
            await client.send(emit_datagram(bytes(65_520)) + emit_datagram(b"small"))
            assert (await asyncio.to_thread(sock.recvfrom, 65535))[0] == b"small"
            (tunnel,) = service.going
            assert isinstance(tunnel, UdpTunnel)
            assert tunnel._sock.getsockopt(socket.IPPROTO_IP, 10) == 2  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
            assert service.tally._board.total(DATAGRAMS_DROPPED) == 1
            client.sock.shutdown(socket.SHUT_WR)
            await ended(client, service)

    run(talk)


def test_idle_tunnel_ends() -> None:
    async def talk() -> None:
        service = service_of(LOOPBACK + "[limits]\nudp-idle = 60\n")
        with target(socket.SOCK_DGRAM) as (_, port):
            client = await opened(service, port)
            now = asyncio.get_running_loop().time()
            service.cut_idle(now + 30)
            assert service.going
            service.cut_idle(now + 100)
            assert await client.to_end() == b""
            await ended(client, service)

    run(talk)


def test_client_that_does_not_read_loses_datagrams_and_nothing_else() -> None:
    async def talk() -> None:
        service = service_of()
        with target(socket.SOCK_DGRAM) as (sock, port):
            client = await opened(service, port)
            await client.send(emit_datagram(b"hello"))
            _, sender = await asyncio.to_thread(sock.recvfrom, 100)
            for _ in range(40):
                for _ in range(10):
                    sock.sendto(bytes(60_000), sender)
                await asyncio.sleep(0.005)
            reader, count = CapsuleReader(), 0
            client.sock.settimeout(0.5)
            is_over = False
            while not is_over:
                try:
                    count += len(reader.take(await client.recv(1 << 20)))
                except TimeoutError:  # in the midst of one, somebody has been kept from running
                    is_over = reader.is_between
            assert 0 < count <= 400
            client.sock.shutdown(socket.SHUT_WR)
            await ended(client, service)

    run(talk)


def test_client_that_wants_answers_and_reads_none_fills_no_memory(caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        service, (ours, theirs) = service_of(), pair()
        stream = Stream(ours, "test:1")
        stream.codec = Answering()
        made: list[UdpTunnel] = []

        async def serve(port: int) -> None:
            end = (socket.AF_INET, "127.0.0.1")
            made.append(UdpTunnel(stream, end, port, service.accounts["-"], service))
            await made[0].run()
            made[0].close()

        with target(socket.SOCK_DGRAM) as (_, port):
            serving = asyncio.create_task(serve(port))
            while not serving.done():
                theirs.send(b"?")
                await asyncio.sleep(0)
                assert not made or len(made[0]._unsent) < MOST_UNSENT + 300_000
            await serving
        ours.close()
        theirs.close()
        service.close()

    run(talk)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["test:1: the stream is spoiled: it wants answers and takes none"]


def test_stream_of_many_small_datagrams_leaves_others_their_turns() -> None:
    """A coroutine that never has to wait for octets would be the only one to run."""

    async def talk() -> None:
        service, (ours, theirs) = service_of(), pair()
        stream, turns = Stream(ours, "test:1"), 0
        theirs.sendall(emit_datagram(b"") * 20_000)
        theirs.shutdown(socket.SHUT_WR)

        async def serve(port: int) -> None:
            end = (socket.AF_INET, "127.0.0.1")
            tunnel = UdpTunnel(stream, end, port, service.accounts["-"], service)
            await tunnel.run()
            tunnel.close()

        with target(socket.SOCK_DGRAM) as (_, port):
            serving = asyncio.create_task(serve(port))
            while not serving.done():
                await asyncio.sleep(0)
                turns += 1
            await serving
        ours.close()
        theirs.close()
        service.close()
        assert turns > 3  # where nobody gives any, it is one

    run(talk)


def test_target_that_may_not_be_reached_is_refused() -> None:
    async def talk() -> bytes:
        service = service_of("")
        client = Client(service)
        await client.send(ask(53))
        heard = await client.to_end()
        await ended(client, service)
        return heard

    assert run(talk).startswith(b"HTTP/1.1 403 ")


def test_user_with_a_rate_has_no_more_than_that() -> None:
    async def talk() -> None:
        service = service_of(LOOPBACK + '[users.joe]\npassword = "fish"\nrate = 200\n')
        fields = "Host: x\r\nConnection: Upgrade\r\nUpgrade: connect-udp"
        fields += "\r\nProxy-Authorization: Basic am9lOmZpc2g="
        with target(socket.SOCK_DGRAM) as (sock, port):
            client = Client(service)
            path = f"/.well-known/masque/udp/127.0.0.1/{port}/"
            await client.send(f"GET {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
            assert (await client.head()).startswith(b"HTTP/1.1 101 ")
            await client.send(emit_datagram(bytes(6000)))  # half a minute's worth
            _, sender = await asyncio.to_thread(sock.recvfrom, 65535)
            await client.send(emit_datagram(b"too much"))
            sock.sendto(b"too much", sender)
            while service.tally._board.total(DATAGRAMS_DROPPED) < 2:
                await asyncio.sleep(0.01)
            client.sock.shutdown(socket.SHUT_WR)
            assert await client.to_end() == b""
            await ended(client, service)

    run(talk)
