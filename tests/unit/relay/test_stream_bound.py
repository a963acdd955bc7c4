"""What goes on beside a stream: it ends with the stream, when it is cut, and when its task is cancelled."""

import asyncio

import pytest

from tests.unit.relay.world import pair, run, service_of
from tunproxy.relay.stream import Stream
from tunproxy.relay.stream_bound import StreamBound


class Listening(StreamBound):
    """Does nothing but read."""

    async def _attend(self) -> None:
        while await self._loop.sock_recv(self._stream.sock, 100):
            pass


@pytest.mark.parametrize("how", ["ended", "reset", "cut", "cancelled"])
def test_it_ends_and_is_forgotten(how: str) -> None:
    async def talk() -> None:
        service = service_of()
        ours, theirs = pair()
        began = asyncio.Event()
        bound: list[Listening] = []

        async def serve() -> str:
            bound.append(Listening(Stream(ours, "test:1"), service))
            began.set()
            await bound[0].run()
            return "returned"

        task = asyncio.create_task(serve())
        await began.wait()
        await asyncio.sleep(0)
        assert set(bound) == service.going
        if how == "ended":
            theirs.close()
        elif how == "reset":
            ours.shutdown(2)
        elif how == "cut":
            bound[0].cut("idle")
            bound[0].cut("idle")
        else:
            task.cancel()
        if how == "cancelled":
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            assert await task == "returned"
            assert not task.cancelling()
        assert not service.going
        ours.close()
        theirs.close()
        service.close()

    run(talk)
