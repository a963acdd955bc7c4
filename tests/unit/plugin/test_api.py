"""What plugin authors may import, and that the examples on their page work."""

import asyncio
import re
import socket
import threading
from pathlib import Path

import pytest

from tests.unit.plugin.distribution import distribution
from tunproxy.control.policy import build_policy, built_in_sources
from tunproxy.flow.verdict import DIAL, FlowInfo
from tunproxy.plugin import api
from tunproxy.plugin.manager import Plugins
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.sockets import KernelSockets

DOCS = Path(__file__).resolve().parents[3] / "docs" / "plugin-authors.md"


def example(name: str) -> str:
    """Return the code block that begins by saying that it is the module of this name."""
    found = re.search(rf'^```python\n("""{name}\.py: .*?)^```$', DOCS.read_text(), re.M | re.S)
    assert found
    return found[1]


def load(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Return the plugins of an environment in which source and the direct plugin are installed."""
    group = f"tunproxy_{folder.name.replace('-', '_')}"
    distribution(folder, group, example=source, direct="from tunproxy_plugins.direct import *")
    monkeypatch.syspath_prepend(folder)
    plugins = Plugins()
    plugins.load_installed(group)
    assert plugins.problems == {}
    return plugins


def flow(address: str, port: int) -> FlowInfo:
    return FlowInfo("tcp", bytes([10, 0, 0, 2]), 40000, socket.inet_aton(address), port)


def test_every_name_exists_and_is_listed_once() -> None:
    assert len(set(api.__all__)) == len(api.__all__)
    assert all(hasattr(api, name) for name in api.__all__)


def test_every_name_is_explained_in_the_page_for_authors() -> None:
    text = DOCS.read_text()
    assert [name for name in api.__all__ if not re.search(rf"^\| .*`{name}\b.* \|", text, re.M)] == []


def test_ten_line_example_refuses_plain_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decider = build_policy(built_in_sources(), load(example("no_http"), tmp_path, monkeypatch)).decider
    verdict = decider.decide(flow("192.0.2.7", 80))
    assert (verdict.kind, verdict.why) == (api.REJECT, "plain HTTP is not allowed here")
    assert decider.decide(flow("192.0.2.7", 443)).kind == DIAL


def answering(answer: bytes) -> tuple[socket.socket, list[bytes]]:
    """Return a listener that answers one connection, and where it notes what it was asked."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def serve() -> None:
        with listener, listener.accept()[0] as conn:
            asked.append(conn.recv(1000))
            conn.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return listener, asked


@pytest.mark.parametrize(
    ("answer", "error"),
    [(b"ok\nhello", ""), (b"too busy\n", "the proxy says: too busy"), (b"ok", "hung up")],
)
def test_conversation_example_speaks_to_a_proxy(
    answer: bytes, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, asked = answering(answer)
    host, port = proxy.getsockname()
    source = example("polite").replace('"192.0.2.1", 4000', f'"{host}", {port}')
    upstream = load(source, tmp_path, monkeypatch).upstreams()["work"]
    assert isinstance(upstream, api.ProxyUpstream)

    async def converse() -> bytes:
        opened = await upstream.open(flow("192.0.2.7", 443), dialer())
        opened.sock.close()
        return opened.rest

    if error:
        with pytest.raises(api.OpenError, match=error):
            asyncio.run(converse())
    else:
        assert asyncio.run(converse()) == b"hello"
    assert asked == [b"please c0000207 443\n"]


def test_coroutine_example_connects_where_the_service_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, asked = answering(b"127.0.0.1\n")
    target, _ = answering(b"")
    address = target.getsockname()
    host, port = service.getsockname()
    source = example("nearest").replace('"192.0.2.1", 8080', f'"{host}", {port}')
    upstream = load(source, tmp_path, monkeypatch).upstreams()["nearest"]
    assert isinstance(upstream, api.OpenUpstream)

    async def converse() -> object:
        sock = await upstream.open(flow("192.0.2.7", address[1]), dialer())
        assert isinstance(sock, socket.socket)
        with sock:
            return sock.getpeername()

    assert asyncio.run(converse()) == address
    assert asked == [b"192.0.2.7\n"]


def dialer() -> AsyncDialer:
    return AsyncDialer(asyncio.get_running_loop(), KernelSockets(0, ""))
