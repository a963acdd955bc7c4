"""The worker as a whole, on a device that is one end of a socket pair."""

import asyncio
import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.control.policies import sources_of, use_tree_plugins, written
from tests.unit.loop.rig import syn, tcp_flags
from tunproxy.control.config.sources import Sources
from tunproxy.control.questions import Questions, socket_pair
from tunproxy.control.worker import run_worker
from tunproxy.control.worker_settings import AddressMap, WorkerSettings
from tunproxy.device.tun import Offload, TunDevice
from tunproxy.errors import ConfigError
from tunproxy.tcp.connection import Settings
from tunproxy.wire.tcp import ACK, RST, SYN

LOOPBACK_MAP = (AddressMap("192.0.2.1", 0, "127.0.0.1", 0),)


class Worker:
    """Runs a worker in this thread while `client` plays the kernel's side in another."""

    def __init__(self) -> None:
        self.wire, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.wire.settimeout(5)
        ours.setblocking(False)
        self.device = TunDevice(ours.detach(), "test0", Offload(csum=True))
        self.lines: list[str] = []
        self.supervisor, self.questions = socket_pair()

    def run(
        self,
        client: Callable[[], None],
        maps: tuple[AddressMap, ...] = LOOPBACK_MAP,
        sources: Sources | None = None,
    ) -> dict[str, int]:
        """Serve until client returns; raises what it raised."""
        stop_read, stop_write = os.pipe()
        failures: list[BaseException] = []

        def play() -> None:
            try:
                client()
            except BaseException as error:
                failures.append(error)
            finally:
                os.close(stop_write)

        thread = threading.Thread(target=play)
        try:
            settings = WorkerSettings(
                device=self.device, address_maps=maps, questions=self.questions, sources=sources
            )
            counters = run_worker(
                settings, stop_fd=stop_read, on_ready=lambda line: (self.lines.append(line), thread.start())
            )
        finally:
            os.close(stop_read)
        thread.join()
        if failures:
            raise failures[0]
        return counters


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    thresholds = gc.get_threshold()
    yield made
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    made.device.close()
    made.wire.close()
    made.supervisor.close()
    made.questions.close()


def test_worker_says_what_it_serves_and_ends_with_its_stop_descriptor(worker: Worker) -> None:
    counters = worker.run(lambda: None)
    (line,) = worker.lines
    assert "test0 mtu 1500, offload csum" in line
    assert counters["frames_in"] == 0


def test_worker_tells_the_engine_what_the_device_can(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def noted(mtu: int, rcv_buf: int, cwnd: int, has_tso4: bool, has_tso6: bool, **more: int) -> Settings:
        made.append(Settings(mtu, rcv_buf, cwnd, has_tso4, has_tso6, **more))
        return made[0]

    made: list[Settings] = []
    monkeypatch.setattr("tunproxy.control.tables.Settings", noted)
    worker.device.offload = Offload(csum=True, tso6=True, tso_ecn=True)
    worker.run(lambda: None)
    (settings,) = made
    assert (settings.has_tso4, settings.has_tso6, settings.has_tso_ecn) == (False, True, True)


def test_worker_carries_a_connection_and_resets_it_at_the_end(worker: Worker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def client() -> None:
            worker.wire.send(syn(server.getsockname()[1]))
            assert tcp_flags(worker.wire.recv(2000)) == SYN | ACK

        counters = worker.run(client)
    assert counters["flows_opened"] == 1
    assert tcp_flags(worker.wire.recv(2000)) & RST


def test_worker_tells_its_status_when_it_is_asked(worker: Worker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def client() -> None:
            worker.wire.send(syn(server.getsockname()[1]))
            assert tcp_flags(worker.wire.recv(2000)) == SYN | ACK
            told = asyncio.run(Questions(worker.supervisor).ask("status"))
            assert told["flows"]["tcp"] == told["flows"]["tcp_embryos"] == 1
            assert told["counters"]["flows_opened"] == 1
            assert told["worker"]["pid"] == os.getpid()

        worker.run(client)


def test_worker_goes_on_when_nobody_is_left_who_asks(worker: Worker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def client() -> None:
            worker.supervisor.close()
            worker.wire.send(syn(server.getsockname()[1]))
            assert tcp_flags(worker.wire.recv(2000)) == SYN | ACK

        worker.run(client)


def test_worker_does_not_dial_the_host_s_loopback_unasked(worker: Worker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        frame = bytearray(syn(server.getsockname()[1]))
        frame[10 + 16 : 10 + 20] = socket.inet_aton("127.0.0.1")
        frame[0] = 2  # DATA_VALID: only the header's own checksum is looked at
        frame[10 + 10 : 10 + 12] = bytes(2)
        total = sum(int.from_bytes(frame[at : at + 2], "big") for at in range(10, 30, 2))
        total = (total & 0xFFFF) + (total >> 16)
        frame[10 + 10 : 10 + 12] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")

        def client() -> None:
            worker.wire.send(bytes(frame))
            assert tcp_flags(worker.wire.recv(2000)) == RST | ACK

        counters = worker.run(client)
    assert counters["drop_martian_target"] == 1


def test_address_map_that_is_no_address_is_a_config_error(worker: Worker) -> None:
    with pytest.raises(ConfigError, match="cannot map 'nonsense': not an IP address"):
        worker.run(lambda: None, (AddressMap("nonsense", 0, "127.0.0.1", 0),))


def test_worker_asks_upstreams_at_once_whether_they_carry_udp(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tree_plugins(monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        table = f'type = "socks5"\nserver = "127.0.0.1"\nport = {listener.getsockname()[1]}\n'
        path = written(tmp_path, f'rules = ["MATCH,work"]\n[upstreams.work]\n{table}')

        def serve() -> None:
            with listener.accept()[0] as proxy:
                proxy.settimeout(10)
                assert proxy.recv(100)[:1] == b"\x05"
                proxy.sendall(b"\x05\x00")
                assert proxy.recv(100)[:2] == b"\x05\x03", "UDP ASSOCIATE (RFC 1928 §4)"

        worker.run(serve, sources=sources_of(path))
