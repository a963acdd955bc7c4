"""The API of a running ``tunproxy up`` as clients see it that were not written here.

clash-controller-api asks for all that it knows; clashctl has a type for each answer, and is a program for
terminals as well.

The picture of the namespaces is in ``hostlab``. A web server at 198.51.100.1 answers whatever is asked, and
keeps the connection.
"""

import asyncio
import contextlib
import os
import re
import select
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from clash_controller_api import APIAuthError, APIClientError, ClashAPI
from clashctl.api import AuthError, Clash, HTTPStatusError, NotFoundError, stream_logs, stream_traffic

from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import WORLD_IPV4, HostLab, eventually, read_line
from tests.system.screen import Screen
from tests.system.stopwatch import Stopwatch

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

TUN = "clash0"
PORT = 9090
URL = f"http://127.0.0.1:{PORT}"
ANSWER = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"


class Served:
    """A running tunproxy with an API, and a web server behind it."""

    def __init__(self, lab: HostLab, folder: Path, port: int) -> None:
        self.lab = lab
        self.port = port
        self.folder = folder
        self.state = folder / "state"
        self.url = f"http://{WORLD_IPV4}:{port}/"
        config = folder / "tunproxy.toml"
        config.write_text(
            f'rules = ["DST-PORT,{port},work"]\n'
            '[dns]\nmode = "off"\n'
            f'[api]\nlisten = "127.0.0.1:{PORT}"\n'
            '[groups.work]\ntype = "select"\nmembers = ["DIRECT", "REJECT", "tested"]\n'
            f'[groups.tested]\ntype = "url-test"\nmembers = ["DIRECT"]\nurl = "{self.url}"\n'
        )
        self.process = lab.start_up("--tun", TUN, "--config", str(config))
        assert self.process.stderr is not None
        self.line = read_line(self.process.stderr)
        self.secret = (Path(os.environ["XDG_STATE_HOME"]) / "tunproxy" / "api-secret").read_text().strip()

    def talk(self, conversation: Callable[[ClashAPI], Awaitable[None]], secret: str = "") -> None:
        """Have a conversation with the API, on the host."""

        async def both() -> None:
            async with aiohttp.ClientSession() as session:
                await conversation(ClashAPI(URL, secret or self.secret, session=session))

        self.run(both())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on the host."""
        with self.lab.host.entered():
            asyncio.run(asyncio.wait_for(work, 60))

    def connect(self) -> socket.socket:
        return self.lab.host.connect(WORLD_IPV4, self.port, timeout=20)

    def is_open(self) -> bool:
        try:
            self.connect().close()
        except ConnectionError:
            return False
        return True


@contextlib.contextmanager
def web(lab: HostLab) -> Iterator[int]:
    """Answer whoever asks at the world's address, and keep connections; yields the port."""
    with lab.world.listen(WORLD_IPV4, 0) as listener:
        listener.settimeout(0.1)
        ended = threading.Event()
        clients: list[socket.socket] = []

        def serve() -> None:
            while not ended.is_set():
                for client in select.select(clients, [], [], 0)[0]:
                    with contextlib.suppress(OSError):
                        if client.recv(4096):
                            client.sendall(ANSWER)
                            continue
                    client.close()
                    clients.remove(client)
                with contextlib.suppress(TimeoutError):
                    clients.append(listener.accept()[0])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            thread.join(5)
        for client in clients:
            client.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("clash")
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    try:
        with HostLab() as lab, web(lab) as port:
            yield Served(lab, folder, port)
    finally:
        os.environ.pop("XDG_STATE_HOME")
        if before is not None:
            os.environ["XDG_STATE_HOME"] = before


def test_user_is_told_where_it_is_and_where_the_secret_is(served: Served) -> None:
    path = served.state / "tunproxy" / "api-secret"
    assert (
        served.line == f"tunproxy: api for dashboards at http://127.0.0.1:{PORT}, its secret is in {path}\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_client_finds_everything_that_it_knows(served: Served) -> None:
    async def conversation(api: ClashAPI) -> None:
        await api.async_validate_connection()
        version = await api.async_get_version()
        assert (version.meta, version.version.partition(" ")[0]) == ("Meta Core", "tunproxy")
        report = await api.async_detect_capabilities()
        missing = sorted(name for name, there in report.items() if not there and name != "ws_logs")
        assert [name for name in missing if not name.startswith(("dns_query", "group_delay"))] == []
        found = await api.async_fetch_data()
        assert found.errors == {}
        assert set(found.data) >= {
            "traffic",
            "memory",
            "connections",
            "proxies",
            "configs",
            "providers_proxies",
        }
        memory = await api.async_request("GET", "memory", read_line=2)  # the first one is always 0
        assert memory["inuse"] > 1 << 20

    served.talk(conversation)


def test_wrong_secret_is_told_as_such(served: Served) -> None:
    async def conversation(api: ClashAPI) -> None:
        with pytest.raises(APIAuthError):
            await api.async_validate_connection()

    served.talk(conversation, "wrong")


def test_flow_is_seen_with_its_process_and_closed(served: Served) -> None:
    async def conversation(api: ClashAPI) -> None:
        with served.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert client.recv(100) == ANSWER
            (found,) = await seen(api, lambda found: found["metadata"]["process"] and found["download"])
            meta = found["metadata"]
            assert meta["destinationIP"] == WORLD_IPV4
            assert meta["sourcePort"] == str(client.getsockname()[1])
            assert meta["processPath"] == os.path.realpath("/proc/self/exe")
            assert (found["rule"], found["rulePayload"]) == ("DstPort", str(served.port))
            assert found["chains"] == ["DIRECT", "work"]
            assert (found["upload"], found["download"]) == (18, len(ANSWER))
            await api.async_request("DELETE", f"connections/{found['id']}")
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        assert await seen(api, lambda found: True, count=0) == []
        rules = (await api.async_request("GET", "rules"))["rules"]
        assert rules[0]["extra"]["hitCount"] >= 1

    served.talk(conversation)


def test_group_is_switched_and_stays_so_over_a_reload(served: Served) -> None:
    async def conversation(api: ClashAPI) -> None:
        assert served.is_open()
        await api.async_request("PUT", "proxies/work", json_data={"name": "REJECT"})
        assert not served.is_open()
        await api.async_request(
            "PUT", "configs", params={"force": "true"}, json_data={"path": "", "payload": ""}
        )
        assert (await api.async_request("GET", "proxies/work"))["now"] == "REJECT"
        assert not served.is_open()
        await api.async_request("PATCH", "configs", json_data={"mode": "direct"})
        assert served.is_open()
        await api.async_request("PATCH", "configs", json_data={"mode": "rule"})
        assert not served.is_open()
        await api.async_request("PATCH", "rules/disable", json_data={"0": True})
        assert served.is_open()
        await api.async_request("PATCH", "rules/disable", json_data={"0": False})
        await api.async_request("PUT", "proxies/work", json_data={"name": "DIRECT"})
        assert served.is_open()

    served.talk(conversation)


def test_delay_is_measured_and_no_other_url_is_fetched(served: Served) -> None:
    async def conversation(api: ClashAPI) -> None:
        about = {"url": served.url, "timeout": "5000"}
        delay = await api.async_request("GET", "proxies/tested/delay", params=about)
        assert 0 < delay["delay"] < 5000
        assert await api.async_request("GET", "group/tested/delay", params=about) == {
            "DIRECT": pytest.approx(2500, abs=2500)
        }
        extra = (await api.async_request("GET", "proxies/DIRECT"))["extra"]
        assert extra[served.url]["history"][-1]["delay"] > 0
        elsewhere = {"url": f"http://127.0.0.1:{PORT}/", "timeout": "1000"}
        with pytest.raises(APIClientError, match="400"):
            await api.async_request("GET", "proxies/DIRECT/delay", params=elsewhere)

    served.talk(conversation)


def test_client_with_a_type_for_each_answer_reads_them_all(served: Served) -> None:
    async def talk() -> None:
        async with Clash(URL, served.secret) as client:
            assert "tunproxy" in str((await client.version()).version)
            assert (await client.configs()).mode.value.lower() == "rule"
            proxies = await client.proxies()
            assert {"GLOBAL", "DIRECT", "REJECT", "work", "tested"} <= set(proxies.root)
            assert (await client.proxy("work")).now == "DIRECT"
            rules = await client.rules()
            assert [(str(rule.rule_type.value), rule.proxy) for rule in rules.rules] == [
                ("DstPort", "work"),
                ("Match", "DIRECT"),
            ]
            await client.select("work", "tested")
            assert (await client.proxy("work")).now == "tested"
            await client.select("work", "DIRECT")
            await client.reload_configs("", force=True)
            assert (await client.delay("tested", served.url, 5000)).delay > 0
            with pytest.raises(NotFoundError):
                await client.proxy("nobody")
            with pytest.raises(HTTPStatusError, match="not exist"):
                await client.select("work", "nobody")
            with pytest.raises(HTTPStatusError, match="path is not accepted"):
                await client.reload_configs("/etc/passwd")
            with served.connect():
                while not (found := (await client.connections()).connections):
                    await asyncio.sleep(0.05)
                assert (found[0].rule.value, found[0].chains) == ("DstPort", ["DIRECT", "work"])
                await client.close_connection(found[0].id)
                await client.close_all_connections()
            assert (await anext(aiter(stream_traffic(client)))).up >= 0
            visits = asyncio.create_task(visit_again_and_again(served))
            async for line in stream_logs(client):
                if f"{WORLD_IPV4}:{served.port}" in line.payload:
                    break
            visits.cancel()
            assert "match DstPort" in line.payload
        async with Clash(URL, "wrong") as stranger:
            with pytest.raises(AuthError):
                await stranger.version()

    served.run(talk())


def test_terminal_of_others_shows_what_goes_on_and_switches_a_group(served: Served, tmp_path: Path) -> None:
    config = tmp_path / "clashctl.toml"
    config.write_text(
        f'using = "{URL}"\n[[servers]]\nname = "here"\nurl = "{URL}"\nsecret = "{served.secret}"\n'
    )
    command = (sys.executable, "-m", "clashctl", "-c", str(config))

    def rows(screen: Screen) -> list[str]:
        """Return the lines of the tree of groups."""
        return [line for line in screen.lines if "▶" in line or "▼" in line or "─ " in line]

    def down_to(screen: Screen, begin: int, words: str) -> int:
        """Move the cursor from a line to the next that has these words; return which that is."""
        (line,) = [at for at, row in enumerate(rows(screen)) if at > begin and words in row][:1]
        screen.type("\x1b[B" * (line - begin))
        return line

    with (
        served.connect() as client,
        Screen(served.lab.host, *command, columns=100, lines=30, env={"NO_COLOR": "1"}) as screen,
    ):
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        screen.shows("tunproxy")  # the version
        screen.type("4")
        screen.shows(WORLD_IPV4)
        screen.type("3")
        screen.until(lambda text: "DstPort" in text and str(served.port) in text and "Match" in text)
        screen.type("2")
        screen.until(lambda text: "tested  URLTest" in text and "work  Selector" in text)
        line = down_to(screen, -1, "work  Selector")
        screen.type("\r")
        screen.shows("REJECT  Reject")
        down_to(screen, line, "REJECT  Reject")
        screen.type("\r")
        screen.until(lambda text: re.search(r"work  Selector .* REJECT", text))
        assert eventually(lambda: not served.is_open())
        screen.type("q")
        assert screen.end() == 0

    async def conversation(api: ClashAPI) -> None:
        assert (await api.async_request("GET", "proxies/work"))["now"] == "REJECT"
        await api.async_request("PUT", "proxies/work", json_data={"name": "DIRECT"})

    served.talk(conversation)


async def visit_again_and_again(served: Served) -> None:
    while True:
        await asyncio.to_thread(served.is_open)
        await asyncio.sleep(0.2)


def test_choice_stays_when_a_worker_dies(served: Served) -> None:
    async def conversation(api: ClashAPI) -> None:
        await api.async_request("PUT", "proxies/work", json_data={"name": "REJECT"})
        (worker, *_) = (await api.async_request("GET", "status"))["workers"]
        for each in (await api.async_request("GET", "status"))["workers"]:
            os.kill(each["pid"], signal.SIGKILL)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            workers = (await api.async_request("GET", "status"))["workers"]
            if all(
                each.get("restarts") and each.get("pid", worker["pid"]) != worker["pid"] for each in workers
            ):
                break
            await asyncio.sleep(0.1)
        assert not served.is_open()
        assert (await api.async_request("GET", "proxies/work"))["now"] == "REJECT"
        await api.async_request("PUT", "proxies/work", json_data={"name": "DIRECT"})
        assert served.is_open()

    served.talk(conversation)


def test_slow_reader_makes_nothing_grow(served: Served) -> None:
    """A dashboard that reads nothing, of a list that is large: what is sent waits in the sockets only."""

    async def conversation(api: ClashAPI) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(served.connect())
            await seen(api, lambda found: True, count=100)
            mutes = []
            for _ in range(20):
                mute = stack.enter_context(socket.create_connection(("127.0.0.1", PORT)))
                mute.sendall(
                    f"GET /connections?interval=100&token={served.secret} HTTP/1.1\r\n"
                    f"Host: localhost:{PORT}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
                )
                mutes.append(mute)
            await asyncio.sleep(2)
            before = memory_of(served.process.pid)
            await asyncio.sleep(2)
            assert memory_of(served.process.pid) - before < 16 << 20
            with Stopwatch() as watch:
                await api.async_request("GET", "version")
            assert watch.seconds() < 5

    served.talk(conversation)
    assert served.process.poll() is None


def test_end_with_dashboards_open_is_quiet(served: Served) -> None:
    async def talk() -> None:
        headers = {"Authorization": f"Bearer {served.secret}"}
        async with aiohttp.ClientSession(URL, headers=headers) as session:
            web_socket = await session.ws_connect("/connections")
            await web_socket.receive(10)
            await session.get("/logs")
            (await session.get("/flows/follow")).close()
            served.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(served.process.wait, 30) == 0

    served.run(talk())
    assert served.process.stderr is not None
    said = served.process.stderr.read()
    assert not any(word in said for word in ("Task", "Traceback", "rror")), said


async def seen(
    api: ClashAPI, condition: Callable[[dict[str, Any]], object], count: int = 1
) -> list[dict[str, Any]]:
    """Return the open flows, once there are so many and all are so."""
    until = time.monotonic() + 30
    while True:
        found = (await api.async_request("GET", "connections"))["connections"] or []
        if len(found) == count and all(condition(each) for each in found):
            return found
        assert time.monotonic() < until, found
        await asyncio.sleep(0.05)


def memory_of(pid: int) -> int:
    """Return the octets of memory that only this process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no RssAnon")
