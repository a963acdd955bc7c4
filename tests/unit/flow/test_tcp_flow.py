"""One TCP flow, and what it holds: within the budget of all flows, whatever client and target do."""

import contextlib
import random
import socket
from collections.abc import Iterator

import pytest

from tests.unit.flow.rig import (
    PORT,
    TARGET,
    Client,
    Rig,
    connected,
    pack,
)
from tunproxy.flow.budget import CALM, FULL, PRESSURE
from tunproxy.flow.ports import SocketMaker
from tunproxy.flow.tcp_flow import TcpFlow
from tunproxy.tcp.autotune import FLOOR, footprint
from tunproxy.tcp.segments import OVERDRAFT
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.wire.tcp import ACK

KIB = 1 << 10
RCV_BUF = 64 * KIB


def noise(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


def flows(rig: Rig) -> list[TcpFlow]:
    """Return the flows in the table (compiled or not, contexts are the flow package's own affair)."""
    return list(rig.table._context.flows.values())


class Narrow(SocketMaker):
    """Sockets that take little, so that what a target does not read stays with us."""

    def tcp(self, family: int) -> socket.socket:
        sock = KernelSockets(0, "").tcp(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return sock


@contextlib.contextmanager
def narrow(memory: int, **sizes: int) -> Iterator[tuple[Rig, socket.socket]]:
    """Yield a rig with this budget, and a listener; little fits between the two."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        listener.settimeout(5)
        maps = {(pack(TARGET), PORT): ("127.0.0.1", int(listener.getsockname()[1]))}
        how = {"rcv_buf": RCV_BUF, **sizes}
        rig = Rig(maps, sockets=Narrow(), memory=memory, **how)  # type: ignore[arg-type]
        with contextlib.closing(rig):
            yield rig, listener


class Upload:
    """A client that sends until its window is closed, and a target that does not read until it is told."""

    def __init__(self, rig: Rig, listener: socket.socket, number: int) -> None:
        self.rig = rig
        self.client = Client(rig, port=40000 + number).connect()
        self.target, _ = listener.accept()
        self.target.setblocking(False)
        self.data = noise(300 * KIB, number)
        self.sent = 0
        self.arrived = bytearray()

    def goes_on(self, size: int = 1400) -> bool:
        """Send a segment where the window allows one; return whether it did."""
        client = self.client
        room = (client.peer_ack + client.peer_wnd - client.seq) & 0xFFFF_FFFF
        piece = self.data[self.sent : self.sent + min(size, room if room < 1 << 31 else 0)]
        if piece:
            client.says(ACK, piece)
            self.sent += len(piece)
        return bool(piece)

    def reads(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.arrived += self.target.recv(1 << 20)

    @property
    def is_complete(self) -> bool:
        return bytes(self.arrived) == self.data


def stall(rig: Rig, uploads: list[Upload]) -> None:
    """Have all of them send until nobody may any more; what is held is checked all the while."""
    budget = rig.table._context.budget
    idle = 0
    while idle < 3:
        moved = [upload.goes_on() for upload in uploads]
        rig.turn(0.001)
        idle = 0 if any(moved) else idle + 1
        assert budget.used == sum(footprint(flow.conn) for flow in flows(rig))
        assert budget.used <= budget.limit + len(uploads) * (RCV_BUF + OVERDRAFT)


def finish(rig: Rig, uploads: list[Upload]) -> None:
    """Have the targets read, and the clients send the rest."""
    for _ in range(20_000):
        for upload in uploads:
            upload.goes_on()
            upload.reads()
        rig.turn()
        if all(upload.is_complete for upload in uploads):
            return
    raise AssertionError(f"{sum(not upload.is_complete for upload in uploads)} flows hang")


def test_many_stalled_flows_stay_within_the_budget_and_all_finish() -> None:
    with narrow(memory=512 * KIB) as (rig, listener):
        uploads = [Upload(rig, listener, number) for number in range(12)]
        budget = rig.table._context.budget
        stall(rig, uploads)
        assert budget.level != CALM, "else this shows nothing"
        assert rig.counters.memory_pressures == 1
        assert all(upload.sent < len(upload.data) for upload in uploads)
        finish(rig, uploads)
        assert (budget.used, budget.level) == (0, CALM)
        assert all(flow.conn.rcv_buf == RCV_BUF for flow in flows(rig)), "they have recovered"


def test_flow_that_begins_under_pressure_promises_little_and_works() -> None:
    with narrow(memory=512 * KIB) as (rig, listener):
        uploads = [Upload(rig, listener, number) for number in range(7)]
        stall(rig, uploads)
        budget = rig.table._context.budget
        assert budget.level == PRESSURE
        late = Upload(rig, listener, 99)
        assert 0 < late.client.peer_wnd <= FLOOR
        late.data = late.data[: 50 * KIB]
        finish(rig, [late])
        assert budget.level == PRESSURE


def test_budget_is_full_new_flow_is_left_unanswered_until_there_is_room() -> None:
    with narrow(memory=256 * KIB) as (rig, listener):
        uploads = [Upload(rig, listener, number) for number in range(8)]
        stall(rig, uploads)
        assert rig.table._context.budget.level == FULL
        client = Client(rig, port=50000)
        client.syn()
        rig.run()
        assert (client.received, rig.drops()) == ([], {"memory-full": 1})
        finish(rig, uploads)
        client.seq = client.iss
        client.connect()


def test_greedy_flow_does_not_starve_a_new_one() -> None:
    with narrow(memory=1 << 20, rcv_buf_most=(1 << 20) // 4) as (rig, listener):
        greedy = Upload(rig, listener, 1)
        while greedy.sent < len(greedy.data) // 3:  # while it is read, its window may grow
            greedy.goes_on()
            greedy.reads()
            rig.turn()
        while greedy.goes_on():
            rig.turn()
        assert greedy.sent < len(greedy.data)
        modest = Upload(rig, listener, 2)
        finish(rig, [modest])
        finish(rig, [greedy])


def test_pressure_gives_up_what_lies_ahead_of_a_gap_and_it_arrives_when_sent_again() -> None:
    with narrow(memory=512 * KIB) as (rig, listener):
        idle = Upload(rig, listener, 50)
        idle.client.says(ACK, idle.data[1000:21_000], seq=idle.client.seq + 1000)
        few = Upload(rig, listener, 51)
        few.client.says(ACK, few.data[1000:2000], seq=few.client.seq + 1000)
        assert flows(rig)[0].conn.assembler is not None
        uploads = [Upload(rig, listener, number) for number in range(12)]
        stall(rig, uploads)
        assert flows(rig)[0].conn.assembler is None, "nothing has happened to this flow, and it has given way"
        assert rig.table._context.budget.level == FULL or flows(rig)[1].conn.assembler is not None
        assert rig.counters.octets_reneged in (20_000, 21_000)
        finish(rig, [idle, few, *uploads])


@pytest.mark.parametrize("is_short", [False, True])
def test_pressure_has_an_upstream_read_one_segment_at_a_time(is_short: bool) -> None:
    with connected() as (rig, client, target):
        budget = rig.table._context.budget
        if is_short:
            budget.charge(budget.limit - 1)
        client.is_acking = False
        target.setblocking(False)
        sent = target.send(noise(200 * KIB))
        rig.run()
        held = flows(rig)[0].conn.buffer.length
        assert held <= 1460 if is_short else held > 10 * 1460
        client.is_acking = True
        client.says(ACK)
        rig.until(lambda: len(client.stream) == sent)


def test_flow_that_ends_gives_back_what_it_was_charged() -> None:
    for ending in ("reset by the client", "dropped", "reset by the target"):
        with narrow(memory=1 << 20) as (rig, listener):
            upload = Upload(rig, listener, 1)
            stall(rig, [upload])
            assert rig.table._context.budget.used > 0
            if ending == "reset by the client":
                upload.client.reset()
            elif ending == "dropped":
                rig.table.close()
                rig.hand_out()
            else:
                upload.target.close()
                rig.until(lambda: len(rig.table) == 0)
            assert (len(rig.table), rig.table._context.budget.used) == (0, 0), ending
