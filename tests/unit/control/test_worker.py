"""The worker as a whole, on a device that is one end of a socket pair."""

import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.unit.loop.rig import syn, tcp_flags
from tunproxy.control.worker import AddressMap, WorkerSettings, run_worker
from tunproxy.device.tun import Offload, TunDevice
from tunproxy.errors import ConfigError
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

    def run(self, client: Callable[[], None], maps: tuple[AddressMap, ...] = LOOPBACK_MAP) -> dict[str, int]:
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
            settings = WorkerSettings(device=self.device, address_maps=maps)
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


def test_worker_says_what_it_serves_and_ends_with_its_stop_descriptor(worker: Worker) -> None:
    counters = worker.run(lambda: None)
    (line,) = worker.lines
    assert "test0 mtu 1500, offload csum" in line
    assert counters["frames_in"] == 0


def test_worker_carries_a_connection_and_resets_it_at_the_end(worker: Worker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def client() -> None:
            worker.wire.send(syn(server.getsockname()[1]))
            assert tcp_flags(worker.wire.recv(2000)) == SYN | ACK

        counters = worker.run(client)
    assert counters["flows_opened"] == 1
    assert tcp_flags(worker.wire.recv(2000)) & RST


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
