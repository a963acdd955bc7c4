"""One worker: the limit of connections, and how it ends."""

import asyncio
import socket

from tests.unit.relay.world import LOOPBACK, board_of, config_of, run, target
from tunproxy.relay.addresses import Listen
from tunproxy.relay.listening import reserve
from tunproxy.relay.metrics import ACCEPTED, OPEN, TURNED_AWAY, Board, Tally
from tunproxy.relay.service import Service
from tunproxy.relay.worker import Post, Worker


class Running:
    """A worker on the running loop."""

    def __init__(self, text: str) -> None:
        config = config_of(text)
        self.board: Board = board_of(config)
        self.service = Service(config, Tally(self.board, 0))
        self.worker = Worker(config, self.service, self.board)
        self._held, (self.place,) = reserve([Listen("127.0.0.1", 0)])
        self.worker.listen(Post(0, [self.place]))
        self.task = asyncio.create_task(self.worker.run())

    async def tunnel(self, port: int) -> socket.socket:
        sock = await asyncio.to_thread(socket.create_connection, (self.place.host, self.place.port), 20)
        sock.sendall(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return sock

    def close(self) -> None:
        self.service.close()
        for sock in self._held:
            sock.close()


def test_connections_beyond_the_limit_are_turned_away() -> None:
    async def talk() -> None:
        running = Running(LOOPBACK + "[limits]\nconnections = 2\n")
        with target() as (listener, port):
            socks = [await running.tunnel(port) for _ in range(2)]
            for sock in socks:
                assert b" 200 " in await asyncio.to_thread(sock.recv, 1000)
            third = await running.tunnel(port)
            try:
                assert await asyncio.to_thread(third.recv, 1000) == b""
            except ConnectionResetError:
                pass
            total = running.board.total
            assert (total(ACCEPTED), total(OPEN), total(TURNED_AWAY)) == (2, 2, 1)
            for sock in (*socks, third, *(listener.accept()[0] for _ in socks)):
                sock.close()
            while total(OPEN):
                await asyncio.sleep(0.01)
        running.worker.on_term()
        await running.task
        running.close()

    run(talk)


def test_drain_lets_flows_end_and_nobody_in() -> None:
    async def talk() -> None:
        running = Running("drain = 30\n" + LOOPBACK)
        with target() as (listener, port):
            sock = await running.tunnel(port)
            theirs = await asyncio.to_thread(lambda: listener.accept()[0])
            assert b" 200 " in await asyncio.to_thread(sock.recv, 1000)
            running.worker.on_term()
            await asyncio.sleep(0.3)
            assert not running.task.done()
            theirs.sendall(b"still here")
            assert await asyncio.to_thread(sock.recv, 1000) == b"still here"
            sock.close()
            theirs.close()
            await running.task
        running.close()

    run(talk)


def test_client_whom_only_the_kernel_has_let_in_is_served_when_the_end_begins() -> None:
    async def talk() -> None:
        running = Running("drain = 30\n" + LOOPBACK)
        with target() as (listener, port):
            with socket.create_connection((running.place.host, running.place.port), 20) as sock:
                running.worker.on_term()  # before the loop has looked at its listening socket
                await asyncio.sleep(0.5)
                assert not running.task.done()
                sock.sendall(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert b" 200 " in await asyncio.to_thread(sock.recv, 1000)
            listener.accept()[0].close()
            await running.task
        running.close()

    run(talk)


def test_second_signal_and_the_end_of_the_drain_cut() -> None:
    async def talk(text: str, signals: int) -> None:
        running = Running(text + LOOPBACK)
        with target() as (_, port):
            sock = await running.tunnel(port)
            assert b" 200 " in await asyncio.to_thread(sock.recv, 1000)
            for _ in range(signals):
                running.worker.on_term()
            await running.task
            assert not running.service.going
            try:
                assert await asyncio.to_thread(sock.recv, 1000) == b""
            except ConnectionResetError:
                pass
            sock.close()
        running.close()

    run(lambda: talk("drain = 30\n", 2))
    run(lambda: talk("drain = 0.2\n", 1))
    run(lambda: talk("drain = 0\n", 1))
