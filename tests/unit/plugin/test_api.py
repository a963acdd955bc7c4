"""What plugin authors may import, and that the examples on their page work."""

import asyncio
import re
import socket
import threading
from pathlib import Path

import pytest

from tests.unit.plugin.distribution import distribution
from tunproxy.control.policy import load_decider
from tunproxy.flow.verdict import DIAL, FlowInfo
from tunproxy.plugin import api
from tunproxy.plugin.manager import Plugins
from tunproxy.upstream.opening import AsyncDialer
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
    decider = load_decider(load(example("no_http"), tmp_path, monkeypatch))
    verdict = decider.decide(flow("192.0.2.7", 80))
    assert (verdict.kind, verdict.why) == (api.REJECT, "plain HTTP is not allowed here")
    assert decider.decide(flow("192.0.2.7", 443)).kind == DIAL


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nhello", ""),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy refuses: HTTP/1.1 407"),
        (b"SSH-2.0", "does not speak HTTP"),
    ],
)
def test_conversation_example_speaks_to_a_proxy(
    answer: bytes, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        asked: list[bytes] = []

        def serve() -> None:
            with proxy.accept()[0] as conn:
                asked.append(conn.recv(1000))
                conn.sendall(answer)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        host, port = proxy.getsockname()
        source = example("http_connect").replace('"192.0.2.1", 8080', f'"{host}", {port}')
        upstream = load(source, tmp_path, monkeypatch).upstreams()["work"]
        assert isinstance(upstream, api.OpenUpstream)

        async def converse() -> bytes:
            loop = asyncio.get_running_loop()
            with await upstream.open(flow("192.0.2.7", 443), AsyncDialer(loop, KernelSockets(0, ""))) as sock:
                return await loop.sock_recv(sock, 100)

        if error:
            with pytest.raises(api.OpenError, match=error):
                asyncio.run(converse())
        else:
            assert asyncio.run(converse()) == b"hello"
        server.join(5)
        assert asked == [b"CONNECT 192.0.2.7:443 HTTP/1.1\r\nHost: 192.0.2.7:443\r\n\r\n"]
