"""The API as it is served, over a worker's real answers: tests make flows, and there are no packets."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest import mock

from aiohttp import ClientSession, TCPConnector, UnixConnector, web

from tests.unit.control.policies import plugins_for, sources_of, written
from tests.unit.dns.world import Turns
from tunproxy import clock
from tunproxy.control import api, keeper
from tunproxy.control.clash.listening import Access, Listening
from tunproxy.control.clash.service import Clash
from tunproxy.control.clash.state_files import StateFiles
from tunproxy.control.config.sources import Sources
from tunproxy.control.helm.answers import Helm
from tunproxy.control.helm.wishes import Wishes
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.live_names import LiveNames
from tunproxy.control.policy import Policy, Surroundings
from tunproxy.control.questions import Questions, answer_on, socket_pair
from tunproxy.decide.recent import RecentFlows
from tunproxy.flow.counters import Counters
from tunproxy.flow.life import FlowLife
from tunproxy.flow.verdict import FlowInfo
from tunproxy.secret import Secret
from tunproxy.upstream.base import Dialer, Upstream
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.health import Health
from tunproxy.upstream.sockets import KernelSockets

SECRET = "opensesame+%"
TEST_URL = "http://127.0.0.1:18000/"
TEXT = f"""
default = "Sel"
rules = [
  "RULE-SET,d,Sel",
  "AND,((NETWORK,udp),(DST-PORT,443)),REJECT",
  "PROCESS-NAME,python3,DIRECT",
  "DOMAIN,localhost,DIRECT",
  "GEOIP,LAN,DIRECT",
  "DOMAIN-WILDCARD,*.x.y,DIRECT",
  "IP-CIDR,192.0.2.0/24,Auto,no-resolve",
  "MATCH,Sel",
]
[dns]
servers = ["127.0.0.1:9"]
[upstreams.s5]
type = "socks5"
server = "127.0.0.1"
port = 1
[upstreams.hp]
type = "http"
server = "127.0.0.1"
port = 2
[groups.Sel]
type = "select"
members = ["s5", "hp", "Auto", "DIRECT"]
[groups.Auto]
type = "url-test"
members = ["s5", "hp"]
url = "{TEST_URL}"
[groups."FB/\U0001f600 x"]
type = "fallback"
members = ["s5", "hp"]
url = "{TEST_URL}"
[groups.LB]
type = "load-balance"
members = ["s5", "hp"]
url = "{TEST_URL}"
[rule-sets.d]
path = "d.txt"
format = "text"
behavior = "domain"
"""


class Flows:
    """Stands for a table: flows that a test begins, and ends by number."""

    def __init__(self) -> None:
        self.alive: list[FlowLife] = []
        self.ended: list[int] = []

    def lives(self) -> list[FlowLife]:
        return list(self.alive)

    def end(self, numbers: frozenset[int] | None) -> int:
        gone = [life for life in self.alive if numbers is None or life.number in numbers]
        self.ended += [int(life.number) for life in gone]
        self.alive = [life for life in self.alive if life not in gone]
        return len(gone)

    def on_new_policy(self) -> None:
        pass


class WorkerSide:
    """A worker without packets. delays are what tests of upstreams take, by name, in ms; others fail."""

    def __init__(self, sources: Sources, wishes: Wishes) -> None:
        self.delays: dict[str, int] = {}
        self.fetched: list[str] = []
        self.sources = sources
        self.wishes = wishes

    def begin(self) -> Questions:
        loop = asyncio.get_running_loop()
        sockets = KernelSockets(0, "")
        dialer = AsyncDialer(loop, sockets)
        self.health = Health(fetch=self._fetch)
        self.names = LiveNames(loop, Turns(), sockets, dialer, ("127.0.0.1:9",))
        self.keeper = PolicyKeeper(self.sources, Surroundings(health=self.health, dns=self.names.build))
        self.recent = RecentFlows(10)
        self.counters = Counters()
        self.flows = Flows()
        self.helm = Helm(
            loop, self.keeper, self.health, self.counters, self.flows, Flows(), self.recent, self.names,
            wishes=self.wishes,
        )  # type: ignore[arg-type]  # fmt: skip
        self.keeper.adopted = self.adopt
        self.adopt(self.keeper.policy)
        self.health.start(loop, dialer)
        ours, self.theirs = socket_pair()
        self.ours = ours
        answers = {"policy": self.keeper.state}
        answer_on(loop, self.theirs, answers, {"reload": self._reload, **self.helm.answers()})
        return Questions(ours)

    def adopt(self, policy: Policy) -> None:
        self.health.adopt(policy.parts.watches)
        self.names.adopt(policy.dns)
        self.helm.adopt(policy)

    async def close(self) -> None:
        self.helm.close()
        self.health.stop()
        await self.names.close()
        asyncio.get_running_loop().remove_reader(self.theirs)
        self.theirs.close()
        self.ours.close()

    def flow(self, host: str, port: int, network: str = "tcp") -> FlowLife:
        """Begin a flow to a name, as decided by the policy, and open it."""
        info = FlowInfo(network, bytes([10, 0, 0, 2]), 4000, bytes([192, 0, 2, 1]), port)
        info.name, info.name_from = host, "dns" if host else ""
        verdict = self.keeper.decider.decide(info)
        now = clock.now()
        life = FlowLife(self.recent.number(), info, verdict, now)
        life.opened_at = now
        self.flows.alive.append(life)
        return life

    @contextlib.asynccontextmanager
    async def beginning(self, host: str, port: int) -> AsyncIterator[None]:
        """Begin a flow again and again, for whoever looks on from some moment on."""

        async def begin() -> None:
            while True:
                self.flow(host, port)
                await asyncio.sleep(0.2)

        task = asyncio.create_task(begin())
        yield
        task.cancel()

    def _reload(self, fd: int) -> object:
        return self.keeper.reload(fd, asyncio.get_running_loop())

    async def _fetch(self, upstream: Upstream, url: str, dialer: Dialer, status: int) -> float:
        self.fetched.append(url)
        if upstream.name not in self.delays:
            raise ConnectionRefusedError("refused")
        await asyncio.sleep(0)
        return self.delays[upstream.name] / 1000


class FakeReloader:
    """Stands for the supervisor's ``Reloader``: counts."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.count = 0
        self.error: Exception | None = None

    async def reload(self, by: str) -> dict[str, object]:
        assert by
        self.count += 1
        if self.error is not None:
            raise self.error
        return {}


class Rig:
    """A running API and a client of its TCP port, who knows the secret."""

    def __init__(self, folder: Path, text: str = TEXT, workers: int = 1, **access: Any) -> None:
        path = written(folder, text, d_txt="a.example\n+.b.example\n")
        self.folder = folder
        self.sources = sources_of(path)
        self.wishes = Wishes()
        self.workers = [WorkerSide(self.sources, Wishes()) for _ in range(workers)]
        self.reloader = FakeReloader(self.sources)
        self.state = StateFiles(folder / "state")
        self.access = Access(Secret(SECRET), **access)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Rig"]:
        questions = [worker.begin() for worker in self.workers]
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        control = socket.socket(socket.AF_UNIX)
        self.path = str(self.folder / "c.sock")
        control.bind(self.path)
        control.listen()
        control.setblocking(False)
        clash = Clash(
            questions,
            self.reloader,  # type: ignore[arg-type]
            self.wishes,
            "tun7",
            self.state,
            Listening(listener, self.access, ""),
        )
        headers = {"Authorization": f"Bearer {SECRET}"}
        async with api.serve(control, _status, clash=clash):
            self.url = f"http://127.0.0.1:{self.port}"
            async with (
                ClientSession(self.url, connector=TCPConnector(), headers=headers) as self.client,
                ClientSession(self.url) as self.stranger,
                ClientSession("http://localhost", connector=UnixConnector(self.path)) as self.local,
            ):
                yield self
        listener.close()
        control.close()
        for worker in self.workers:
            await worker.close()

    @property
    def worker(self) -> WorkerSide:
        return self.workers[0]

    async def get(self, path: str, status: int = 200) -> Any:
        return await self.ask("GET", path, status=status)

    async def ask(self, method: str, path: str, body: Any = None, status: int = 204) -> Any:
        async with self.client.request(method, path, json=body) as answer:
            assert answer.status == status, f"{method} {path}: {answer.status} {await answer.text()}"
            if status == 204:
                assert await answer.read() == b""
                return None
            assert answer.content_type == "application/json"
            return await answer.json()


async def _status() -> dict[str, object]:
    return {"name": "tun7"}


def talk(folder: Path, conversation: Callable[[Rig], Awaitable[None]], **options: Any) -> None:
    """Have a conversation with an API over the configuration TEXT."""

    async def both() -> None:
        async with Rig(folder, **options).running() as rig, asyncio.timeout(60):
            await conversation(rig)

    with mock.patch.object(keeper, "load_plugins", plugins_for):  # the tree's, whatever is installed
        asyncio.run(both())


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[int]:
    """Serve an application that is not the API's own; yields its port."""
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    try:
        yield site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    finally:
        await runner.cleanup()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + 20
    while not await condition():
        assert time.monotonic() < until, "it never came to that"
        await asyncio.sleep(0.02)
