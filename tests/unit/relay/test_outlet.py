"""Datagrams to any target."""

import asyncio
import socket

from tests.unit.relay.world import run, tally_of, target
from tunproxy.relay.dialing import Dialer, End
from tunproxy.relay.limits import Account
from tunproxy.relay.metrics import DATAGRAMS_DROPPED
from tunproxy.relay.outlet import Outlet
from tunproxy.relay.targets import Targets, parse_entry


def test_names_are_looked_up_once_and_all_targets_see_one_port() -> None:
    asked: list[str] = []

    def resolve(name: str) -> list[End]:
        asked.append(name)
        return [(socket.AF_INET, "127.0.0.1")]

    async def talk() -> None:
        heard: asyncio.Queue[tuple[str, int, bytes]] = asyncio.Queue()
        tally = tally_of("joe")
        account = Account(0, "joe", 0, 0, tally, asyncio.get_running_loop().time)
        dialer = Dialer(Targets([parse_entry("127.0.0.1")]), 10.0, resolve)
        outlet = Outlet(dialer, account, tally, lambda *reply: heard.put_nowait(reply))
        senders = set()
        with target(socket.SOCK_DGRAM) as (one, port), target(socket.SOCK_DGRAM) as (other, second):
            for sock, at in ((one, port), (other, second), (one, port)):
                outlet.send("a.test", at, b"hello")
                payload, sender = await asyncio.to_thread(sock.recvfrom, 100)
                assert payload == b"hello"
                senders.add(sender)
                sock.sendto(b"answer", sender)
                assert await heard.get() == ("127.0.0.1", at, b"answer")
            assert len(senders) == 1
            assert asked == ["a.test", "a.test"]  # for each port
            outlet.send("127.0.0.2", port, b"nobody may")
            outlet.send("a.test", 0, b"no port")
            while tally._board.total(DATAGRAMS_DROPPED) < 2:
                await asyncio.sleep(0.01)
            outlet.close()
            outlet.close()
        dialer.close()

    run(talk)


def test_user_with_a_rate_has_no_more_than_that() -> None:
    async def talk() -> None:
        tally = tally_of("joe")
        account = Account(0, "joe", 0, 1000, tally, lambda: 100.0)  # the time stands still
        account.begin()
        dialer = Dialer(Targets([parse_entry("127.0.0.1")]), 10.0)
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        outlet = Outlet(dialer, account, tally, lambda *reply: heard.put_nowait(reply[2]))
        dropped = tally._board.total
        with target(socket.SOCK_DGRAM) as (sock, port):
            outlet.send("127.0.0.1", port, bytes(200))
            payload, sender = await asyncio.to_thread(sock.recvfrom, 1000)
            assert len(payload) == 200
            sock.sendto(bytes(100), sender)  # more than the 250 octets of a burst, as the first that is
            assert await heard.get() == bytes(100)
            outlet.send("127.0.0.1", port, b"too much")
            assert dropped(DATAGRAMS_DROPPED) == 1
            sock.sendto(b"too much", sender)
            while dropped(DATAGRAMS_DROPPED) < 2:
                await asyncio.sleep(0.01)
            assert heard.empty()
            outlet.close()
        dialer.close()

    run(talk)
