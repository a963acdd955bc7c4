"""One file of what several workers ship; dpkt reads it back."""

import asyncio
import io
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable

import dpkt.pcapng  # type: ignore[import-untyped]
import pytest

from tests.unit.control.packets.crew import Worker, packet, questions_of
from tests.unit.waiting import until
from tunproxy.control.packets import arrivals, merging, pcapng, shipping
from tunproxy.control.packets.blocks import Wish
from tunproxy.control.packets.merging import Merger
from tunproxy.control.packets.pcapng import Blocks, counts_of


def scenario(
    what: Callable[[list[Worker], Merger], Awaitable[None]], count: int = 1, wish: Wish | None = None
) -> None:
    """Run what with so many workers and an open merger."""

    async def run() -> None:
        workers = [Worker() for _ in range(count)]
        merger = Merger(questions_of(workers), wish or Wish())
        try:
            await merger.open()
            await what(workers, merger)
        finally:
            await merger.close()
            for each in workers:
                each.die()
            await asyncio.sleep(0)

    asyncio.run(run())


async def all_of(blocks: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([each async for each in blocks])


def kinds(octets: bytes) -> list[int]:
    return [kind for kind, _ in Blocks().feed(octets)]


def packets(octets: bytes) -> list[bytes]:
    return [data for _, data in dpkt.pcapng.Reader(io.BytesIO(octets))]


def statistics(octets: bytes) -> dict[int, int]:
    return counts_of(next(block for kind, block in Blocks().feed(octets) if kind == pcapng.STATISTICS))


def test_file_has_all_that_was_shipped_and_says_what_it_is() -> None:
    async def what(workers: list[Worker], merger: Merger) -> None:
        reading = asyncio.create_task(all_of(merger.blocks(lambda: True)))
        workers[0].ship(
            shipping.name(bytes(4), "shop.example"),
            packet(10**18, comment="whose it is"),
            shipping.name(bytes(4), "shop.example"),
            packet(10**18 + 1, b"back", is_up=False),
        )
        await until(lambda: merger.packets == 2)
        merger.end()
        await workers[0].end_when_told(2)
        octets = await reading
        assert workers[0].asked == [{"filter": "port:443", "snaplen": 500}]
        assert packets(octets) == [b"packet", b"back"]
        assert kinds(octets) == [0x0A0D0D0A, 1, pcapng.NAMES, 6, 6, pcapng.STATISTICS]
        for said in (
            b"whose it is",
            b"/etc/x.toml, generation 3, 5 rules",
            b"filter port:443",
            b"tun7",
            b"offload csum",
        ):
            assert said in octets
        assert statistics(octets) == {pcapng.RECEIVED: 2, pcapng.DROPPED: 0, pcapng.DELIVERED: 2}
        up, down = (block for kind, block in Blocks().feed(octets) if kind == 6)
        assert struct.pack("<HHI", pcapng.FLAGS, 4, pcapng.OUTBOUND) in up
        assert struct.pack("<HHI", pcapng.FLAGS, 4, pcapng.INBOUND) in down
        document = merger.document()
        assert (document["packets"], document["octets"], document["lost"]) == (2, len(octets), 0)

    scenario(what, wish=Wish("port:443", 500))


def test_packets_of_several_workers_are_in_order_and_say_whose_they_are() -> None:
    async def what(workers: list[Worker], merger: Merger) -> None:
        for place, worker in enumerate(workers):
            worker.ship(*(packet(10**18 + 2 * number + place, bytes([place])) for number in range(5)))
        await until(lambda: len(merger._arrivals) == 10)
        reading = asyncio.create_task(all_of(merger.blocks(lambda: True)))
        await until(lambda: merger.packets == 10)
        merger.end()
        await asyncio.gather(*(worker.end_when_told(5) for worker in workers))
        octets = await reading
        assert packets(octets) == [bytes([place]) for _ in range(5) for place in (0, 1)]
        blocks = [block for kind, block in Blocks().feed(octets) if kind == 6]
        assert [struct.pack("<HHI", 6, 4, place) in blocks[place] for place in (0, 1)] == [True, True]

    scenario(what, 2)


@pytest.mark.parametrize(
    ("wish", "expected"), [(Wish(count=3), 3), (Wish(size=2000), -1), (Wish(seconds=1), 100)]
)
def test_bounds_end_it(wish: Wish, expected: int) -> None:
    async def what(workers: list[Worker], merger: Merger) -> None:
        workers[0].ship(*(packet(10**18 + number, bytes(60)) for number in range(100)))
        ending = asyncio.create_task(workers[0].end_when_told(100))
        octets = await all_of(merger.blocks(lambda: True))
        await ending
        found = len(packets(octets))
        assert kinds(octets)[-1] == pcapng.STATISTICS
        if wish.size:
            assert 2000 <= merger.octets < 2500
            assert 0 < found < 100
        else:
            assert found == expected

    scenario(what, wish=wish)


def test_what_is_lost_is_in_packets_and_statistics() -> None:
    async def what(workers: list[Worker], merger: Merger) -> None:
        workers[0].ship(packet(1), packet(2, lost=5))
        reading = asyncio.create_task(all_of(merger.blocks(lambda: True)))
        await until(lambda: merger.packets == 2)
        merger.end()
        await workers[0].end_when_told(9, 7)
        octets = await reading
        assert struct.pack("<HHQ", pcapng.DROP_COUNT, 8, 5) in octets
        assert statistics(octets) == {pcapng.RECEIVED: 9, pcapng.DROPPED: 7, pcapng.DELIVERED: 2}
        assert b"7 packets were lost" in octets

    scenario(what)


def test_who_takes_a_dead_workers_place_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "RETRY_SECONDS", 0.01)

    async def run() -> None:
        first, second = Worker(), Worker()
        workers = questions_of([first])
        merger = Merger(workers, Wish())
        await merger.open()
        first.ship(packet(1, b"one"))
        reading = asyncio.create_task(all_of(merger.blocks(lambda: True)))
        await until(lambda: merger.packets == 1)
        workers[0] = second.questions
        first.die()
        await until(lambda: second.channels)
        second.ship(packet(2, b"two"))
        await until(lambda: merger.packets == 2)
        merger.end()
        await second.end_when_told(1)
        octets = await reading
        assert packets(octets) == [b"one", b"two"]
        assert b"workers died meanwhile: 1" in octets
        await merger.close()

    asyncio.run(run())


def test_worker_that_ships_nonsense_is_left(caplog: pytest.LogCaptureFixture) -> None:
    async def what(workers: list[Worker], merger: Merger) -> None:
        workers[0].ship(packet(1), bytes(100))
        octets = await all_of(merger.blocks(lambda: True))
        assert packets(octets) == [b"packet"]
        assert "makes no sense" in caplog.text

    scenario(what, wish=Wish(count=1))


def test_reader_who_has_gone_ends_it() -> None:
    async def what(workers: list[Worker], merger: Merger) -> None:
        octets = await all_of(merger.blocks(lambda: False))
        assert kinds(octets) == [0x0A0D0D0A, 1]

    scenario(what)


def test_worker_that_does_not_answer_the_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "LAST_WORDS_SECONDS", 0.1)

    async def what(workers: list[Worker], merger: Merger) -> None:
        workers[0].ship(packet(1))
        octets = await all_of(merger.blocks(lambda: True))
        assert statistics(octets)[pcapng.DELIVERED] == 1

    scenario(what, wish=Wish(count=1))
