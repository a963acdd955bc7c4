"""Questions to resolvers, from who is no client."""

import asyncio
from typing import Any

import dns.message
import pytest

from tests.unit.dns.world import Turns
from tunproxy.control.config.schema import DnsConfig
from tunproxy.control.helm.errands import Errands
from tunproxy.control.helm.name_desk import NameDesk
from tunproxy.control.live_names import LiveNames
from tunproxy.errors import ConfigError
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.sockets import KernelSockets


def converse(talk: Any, config: DnsConfig | None) -> None:
    async def both() -> None:
        loop = asyncio.get_running_loop()
        sockets = KernelSockets(0, "")
        names = LiveNames(loop, Turns(), sockets, AsyncDialer(loop, sockets))
        if config is not None:
            names.adopt(names.build(config))
        await talk(NameDesk(names, errands := Errands()), errands, names)
        await names.close()

    asyncio.run(both())


async def result(errands: Errands, ticket: dict[str, Any]) -> dict[str, Any]:
    while True:
        found = errands.fetch(ticket)
        if found["is_done"]:
            return found["result"]  # type: ignore[no-any-return]
        await asyncio.sleep(0.005)


HOSTS = DnsConfig(mode="fake-ip", servers=("127.0.0.1:9",), hosts={"nas.lan": "192.0.2.7"}, fake_ip_file="")


def test_answer_is_the_real_one_and_leaves_no_trace() -> None:
    async def talk(desk: NameDesk, errands: Errands, names: LiveNames) -> None:
        query = dns.message.make_query("nas.lan", "A")
        found = await result(errands, desk.begin({"query": query.to_wire().hex()}))
        reply = dns.message.from_wire(bytes.fromhex(found["reply"]))
        assert [str(each) for each in reply.answer[0]] == ["192.0.2.7"]
        assert reply.id == query.id
        assert len(names.table) == 0
        assert (await result(errands, desk.begin({"query": "00"}))) == {"reply": ""}

    converse(talk, HOSTS)


@pytest.mark.parametrize("query", [None, 7, "x", "abc", "00" * 5000])
def test_what_is_no_query(query: Any) -> None:
    async def talk(desk: NameDesk, errands: Errands, names: LiveNames) -> None:
        with pytest.raises(ConfigError):
            desk.begin({"query": query})
        with pytest.raises(ConfigError):
            desk.begin({})

    converse(talk, HOSTS)


def test_nobody_answers() -> None:
    async def talk(desk: NameDesk, errands: Errands, names: LiveNames) -> None:
        with pytest.raises(ConfigError, match="nobody answers"):
            await result(errands, desk.begin({"query": "00" * 12}))
        assert desk.flush({"what": "answers"}) == desk.flush({"what": "fake-ip"}) == {"count": 0}

    converse(talk, None)


def test_flush() -> None:
    async def talk(desk: NameDesk, errands: Errands, names: LiveNames) -> None:
        assert names.current is not None
        pool = names.current.fakes
        assert pool is not None
        assert pool.answer("a.example", 1) is not None
        assert desk.flush({"what": "fake-ip"}) == {"count": 0}  # just used
        assert len(pool) == 1
        assert desk.flush({"what": "answers"}) == {"count": 0}
        with pytest.raises(ConfigError, match="there is no 'x' to flush"):
            desk.flush({"what": "x"})

    converse(talk, HOSTS)
