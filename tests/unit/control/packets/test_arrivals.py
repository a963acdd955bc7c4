"""What workers ship for a capture, and who of them takes part."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.unit.control.packets.crew import Worker, packet, questions_of
from tests.unit.waiting import until
from tunproxy.control.packets import arrivals
from tunproxy.control.packets.arrivals import Arrivals, RefusedError
from tunproxy.control.packets.blocks import Wish
from tunproxy.control.questions import NoAnswerError, socket_pair
from tunproxy.control.questions import Questions as Asked


def scenario(what: Callable[[list[Worker], Arrivals], Awaitable[None]], count: int = 1) -> None:
    """Run what with so many workers that have begun."""

    async def run() -> None:
        workers = [Worker() for _ in range(count)]
        arriving = Arrivals(questions_of(workers), Wish())
        try:
            await arriving.open()
            await what(workers, arriving)
        finally:
            await arriving.close()
            for each in workers:
                each.die()
            await asyncio.sleep(0)

    asyncio.run(run())


def test_packets_of_several_workers_are_taken_in_the_order_of_time() -> None:
    async def what(workers: list[Worker], arriving: Arrivals) -> None:
        workers[1].ship(packet(2, lost=3))
        workers[0].ship(packet(3), packet(1))
        await until(lambda: len(arriving) == 3)
        assert [(at, place) for at, place, _ in arriving.take()] == [(1, 0), (2, 1), (3, 0)]
        assert arriving.lost == 3
        assert arriving.take() == []

    scenario(what, count=2)


def test_what_is_not_taken_holds_up_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "MAX_PENDING", 10_000)
    monkeypatch.setattr(arrivals, "READ_OCTETS", 1000)

    async def what(workers: list[Worker], arriving: Arrivals) -> None:
        channel = workers[0].channels[0]
        channel.setblocking(False)
        record = b"".join(packet(1, bytes(1000)))
        for _ in range(100_000):
            try:
                channel.send(record)
            except BlockingIOError:
                break
            await asyncio.sleep(0)
        else:
            raise AssertionError("nothing holds the worker up")
        assert 10_000 <= arriving._pending_octets < 12_000
        assert arriving.take()
        await until(arriving.take)  # there is room again

    scenario(what)


def test_end_is_complete_when_all_have_said_how_much_it_was() -> None:
    async def what(workers: list[Worker], arriving: Arrivals) -> None:
        await asyncio.sleep(0)  # let them be followed
        arriving.stop()
        arriving.say_goodbye()
        assert not arriving.is_complete
        for number, worker in enumerate(workers):
            await worker.end_when_told(number, 0)
        await until(lambda: arriving.is_complete)
        assert [counts.seen for _, counts in sorted(arriving.counts.items())] == [0, 1]
        assert arriving.deaths == 0

    scenario(what, count=2)


def test_nobody_takes_a_dead_workers_place_once_it_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "RETRY_SECONDS", 0.01)

    async def what(workers: list[Worker], arriving: Arrivals) -> None:
        await asyncio.sleep(0)  # let them be followed
        arriving.stop()
        workers[0].die()
        await until(lambda: arriving.is_complete)
        assert arriving.deaths == 0

    scenario(what)


def test_refusal_is_passed_on() -> None:
    async def run() -> None:
        arriving = Arrivals(questions_of([Worker("there are too many"), Worker()]), Wish())
        with pytest.raises(RefusedError, match="there are too many"):
            await arriving.open()
        await arriving.close()

    asyncio.run(run())


def test_without_a_worker_there_is_no_capture() -> None:
    async def run() -> None:
        ours, theirs = socket_pair()
        theirs.close()
        arriving = Arrivals([Asked(ours)], Wish())
        with pytest.raises(NoAnswerError):
            await arriving.open()
        await arriving.close()
        ours.close()

    asyncio.run(run())
