"""Who may ask: secrets, names of hosts, pages of others; and what nobody may do."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from tests.unit.control.clash.rig import SECRET, Rig, eventually, talk
from tests.unit.control.clash.shapes import RECORDED, body
from tunproxy.control import api
from tunproxy.control.clash.guard import Guard, host_name, is_loopback

BEARER = {"Authorization": f"Bearer {SECRET}"}


async def status_of(rig: Rig, headers: dict[str, str], path: str = "/version", method: str = "GET") -> int:
    async with rig.stranger.request(method, path, headers=headers) as answer:
        return answer.status


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {SECRET}x"},
        {"Authorization": f"Bearer {SECRET[:-1]}"},
        {"Authorization": "Bearer "},
        {"Authorization": SECRET},
        {"Authorization": f"Basic {SECRET}"},
        {"Authorization": "Bearer \xfc"},
    ],
)
def test_wrong_secret_is_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    async def conversation(rig: Rig) -> None:
        for path in ("/version", "/proxies", "/nonsense", "/status", f"/version?token={quote(SECRET)}"):
            async with rig.stranger.get(path, headers=headers) as answer:
                assert answer.status == 401
                assert await answer.json() == body("GET /version noauth")
        assert await status_of(rig, headers, "/proxies/Sel", "PUT") == 401

    talk(tmp_path, conversation)


def test_secret_is_taken_as_bearer_and_for_web_sockets_as_token(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        assert await status_of(rig, BEARER) == 200
        assert await status_of(rig, {"authorization": f"bearer {SECRET}"}) == 200
        for token in (quote(SECRET, safe=""), "opensesame+%25"):
            async with rig.stranger.ws_connect(f"/traffic?a=b&token={token}") as web_socket:
                assert (await web_socket.receive(10)).type is aiohttp.WSMsgType.TEXT
        for token in ("", "wrong"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await rig.stranger.ws_connect(f"/traffic?token={token}")
            assert error.value.status == 401

    talk(tmp_path, conversation)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9090", "127.0.0.1.evil.example", "192.0.2.1", ""]
)
def test_other_name_of_the_host_is_refused_even_with_the_secret(tmp_path: Path, host: str) -> None:
    async def conversation(rig: Rig) -> None:
        assert await status_of(rig, {**BEARER, "Host": host}) == 403
        for path in ("/traffic", "/connections", "/logs", "/memory"):  # a page's WebSocket has the token
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await rig.stranger.ws_connect(
                    f"{path}?token={quote(SECRET, safe='')}",
                    headers={"Host": host, "Origin": f"http://{host}"},
                )
            assert error.value.status == 403

    talk(tmp_path, conversation)


def test_names_of_loopback_and_those_that_are_allowed_are_taken(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for host in (
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:1",
            "127.8.8.8",
            "[::1]:9090",
            "box.lan:9090",
            "BOX.lan",
        ):
            assert await status_of(rig, {**BEARER, "Host": host}) == 200, host

    talk(tmp_path, conversation, hosts=("Box.lan",))


def test_pages_of_others_are_refused(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for origin in (
            "https://evil.example",
            "null",
            "file://",
            "http://localhost.evil.example",
            "ftp://localhost",
        ):
            async with rig.stranger.get("/version", headers={**BEARER, "Origin": origin}) as answer:
                assert answer.status == 403, origin
                assert "Access-Control-Allow-Origin" not in answer.headers
            preflight = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
            async with rig.stranger.options("/proxies/Sel", headers=preflight) as answer:
                assert answer.status == 403
                assert "Access-Control-Allow-Origin" not in answer.headers
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await rig.stranger.ws_connect("/traffic", headers={**BEARER, "Origin": origin})
            assert error.value.status == 403

    talk(tmp_path, conversation)


def test_pages_that_may_ask_get_what_browsers_want(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for origin in ("http://localhost:3000", "https://127.0.0.1", "https://dash.example"):
            preflight = {
                "Origin": origin,
                "Access-Control-Request-Method": "PATCH",
                "Access-Control-Request-Headers": "authorization",
                "Access-Control-Request-Private-Network": "true",
            }
            async with rig.stranger.options("/configs", headers=preflight) as answer:
                assert answer.status == RECORDED["OPTIONS"]["status"]
                for name, value in RECORDED["OPTIONS"]["h"].items():
                    if name.startswith("Access-Control-Allow-") and name.endswith(("Methods", "Headers")):
                        assert value in answer.headers[name]
                    elif name == "Access-Control-Allow-Origin":
                        assert answer.headers[name] == origin
                    elif name != "Date":
                        assert answer.headers[name] == value
            async with rig.stranger.get("/version", headers={**BEARER, "Origin": origin}) as answer:
                assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, origin)
                assert answer.headers["Vary"] == "Origin"
            async with rig.stranger.get("/version", headers={"Origin": origin}) as answer:
                assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (401, origin)
            async with rig.stranger.get("/traffic", headers={**BEARER, "Origin": origin}) as answer:
                assert answer.headers["Access-Control-Allow-Origin"] == origin

    talk(tmp_path, conversation, origins=("https://dash.example/",))


def test_files_and_urls_of_a_caller_are_refused(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for given in ({"path": "/etc/passwd"}, {"path": "tunproxy.toml"}, {"payload": "rules: []"}):
            found = await rig.ask("PUT", "/configs?force=true", given, 400)
            assert found.keys() == body("PUT /configs?force=true").keys()
        assert rig.reloader.count == 0
        for url in (
            "http://127.0.0.1:1/",
            "http://169.254.169.254/latest",
            "file:///etc/passwd",
            "gopher://x",
            "x",
        ):
            for path in ("/proxies/s5/delay", "/group/Auto/delay", "/providers/proxies/Auto/s5/healthcheck"):
                found = await rig.get(f"{path}?url={quote(url, safe='')}&timeout=1000", 400)
                assert "not fetched" in found["message"]
        assert rig.worker.fetched == []
        for method, path in (
            ("POST", "/upgrade?channel=auto&force=true"),
            ("POST", "/upgrade/ui"),
            ("POST", "/restart"),
        ):
            assert "not supported" in (await rig.ask(method, path, {}, 501))["message"]

    talk(tmp_path, conversation)


def test_paths_in_names_lead_nowhere(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for name in ("..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "..", "%00", "%ff", "a%0d%0ab"):
            for path in (f"/proxies/{name}", f"/providers/rules/{name}", f"/group/{name}/delay"):
                async with rig.client.get(URL(f"{rig.url}{path}", encoded=True)) as answer:
                    assert answer.status in (404, 405)
            url = URL(f"{rig.url}/storage/{name}", encoded=True)
            async with rig.client.put(url, json={"x": 1}) as answer:
                assert answer.status in (204, 404)
        assert sorted(each.name for each in rig.folder.rglob("*") if each.is_file()) == [
            "d.txt", "dashboards.json", "tunproxy.toml",
        ]  # fmt: skip

    talk(tmp_path, conversation)


def test_large_bodies_are_refused_and_nothing_is_kept_of_them(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for method, path in (("PUT", "/storage/x"), ("PATCH", "/configs"), ("PUT", "/proxies/Sel")):
            try:
                async with rig.client.request(method, path, data=b"[" + b"1," * (5 << 20)) as answer:
                    assert answer.status == 413
                    assert "message" in await answer.json()
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                pass  # hung up on while it was still sending
        assert await rig.get("/storage/x") is None

    talk(tmp_path, conversation)


@pytest.mark.parametrize(
    "given", [b"{", b"[]", b"7", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"name": 7}', b"{}"]
)
def test_garbage_in_bodies_is_told_as_such(tmp_path: Path, given: bytes) -> None:
    async def conversation(rig: Rig) -> None:
        async with rig.client.put("/proxies/Sel", data=given) as answer:
            assert (answer.status, await answer.json()) == (400, {"message": "Body invalid"})

    talk(tmp_path, conversation)


def test_garbage_instead_of_http_ends_in_a_refusal(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for noise in (
            os.urandom(2000),
            b"GET\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"\x16\x03\x01" * 99,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(noise + b"\r\n\r\n")
            found = await asyncio.wait_for(reader.read(), 10)
            assert found.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400", b"HTTP/1.1 403")), found[:100]
            writer.close()
        assert await status_of(rig, BEARER) == 200

    talk(tmp_path, conversation)


def test_who_holds_connections_leaves_the_control_socket_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MOST_CLIENTS", 3)

    async def conversation(rig: Rig) -> None:
        held = [await asyncio.open_connection("127.0.0.1", rig.port) for _ in range(3)]
        async with rig.local.get("/version") as answer:  # also makes sure that all three are there
            assert answer.status == 200
        with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            await rig.get("/version")
        for _, writer in held:
            writer.close()

        async def is_let_in() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                return bool(await rig.get("/version"))
            return False

        await eventually(is_let_in)

    talk(tmp_path, conversation)


def test_without_a_port_nobody_gets_in_over_tcp(tmp_path: Path) -> None:
    async def never(request: Any) -> Any:
        raise AssertionError("asked")

    answer = asyncio.run(
        Guard(None).middleware(make_mocked_request("GET", "/", {"Host": "localhost"}), never)
    )
    assert answer.status == 403


def test_names_of_hosts_are_told_from_urls() -> None:
    assert host_name("http://LocalHost.:80") == "localhost"
    assert host_name("//[::1]:9090") == "::1"
    assert host_name("//[") == ""
    assert all(is_loopback(name) for name in ("localhost", "127.0.0.2", "::1"))
    assert not any(is_loopback(name) for name in ("::", "a.localhost", "2130706433", ""))
