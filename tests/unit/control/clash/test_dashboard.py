"""The dashboard as it is served: to whom, with what headers, and nothing beside its files."""

import asyncio
import gzip
import http.client
import socket
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import ClientSession, UnixConnector, web

from tests.unit.control.clash.rig import SECRET, Rig, talk
from tests.unit.control.clash.test_dashboard_files import PAGE, archive, files_of
from tunproxy.control.clash import dashboard
from tunproxy.control.clash.dashboard import Dashboard, address_of, policy_of
from tunproxy.control.clash.dashboard_files import DashboardFiles, NoDashboardError, inline_scripts
from tunproxy.control.clash.listening import Access, Listening
from tunproxy.secret import Secret

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
SCRIPT = b"let a = 1\n" * 500

Answer = tuple[int, http.client.HTTPMessage, bytes]


@pytest.fixture(autouse=True)
def loads(monkeypatch: pytest.MonkeyPatch) -> list[DashboardFiles]:
    """A small dashboard instead of what is installed; holds an entry for each time that it was read."""
    data, found = archive(index_html=PAGE, assets__a_js=SCRIPT, stored_txt=b"as it is"), []

    def load() -> DashboardFiles:
        found.append(files_of(data))
        return found[-1]

    monkeypatch.setattr(dashboard, "load_installed", load)
    return found


async def fetched(rig: Rig, target: str, method: str = "GET", **headers: str) -> Answer:
    """Return what who knows no secret is answered; target and headers are sent as they stand here."""

    def fetch() -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", rig.port, timeout=20)
        try:
            connection.request(method, target, headers={k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    return await asyncio.to_thread(fetch)


def test_browser_is_led_to_the_dashboard_and_programs_are_not(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for path in ("/", "/ui"):
            status, headers, _ = await fetched(rig, path, **BROWSER)
            assert (status, headers["Location"]) == (307, "ui/")
        assert (await fetched(rig, "/", "HEAD", **BROWSER))[0] == 307
        assert (await fetched(rig, "/"))[0] == 401
        assert (await fetched(rig, "/", Accept="application/json"))[0] == 401
        assert await rig.get("/") == {"hello": "clash"}
        assert (await fetched(rig, "/", "POST", **BROWSER))[0] == 401

    talk(tmp_path, conversation)


def test_files_need_no_secret_and_everything_else_does(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for path in ("/ui/", "/ui/index.html", "/ui/assets/a.js", "/ui/tunproxy.js"):
            assert (await fetched(rig, path))[0] == 200, path
            assert (await fetched(rig, path, "HEAD"))[0] == 200, path
            assert (await fetched(rig, path, "POST"))[0] == 401, path
            assert (await fetched(rig, path, Host="evil.example"))[0] == 403, path
            assert (await fetched(rig, path, Origin="https://evil.example"))[0] == 403, path
        for path in ("/version", "/uix", "/dashboard", "/connections", "/status", "//ui/"):
            assert (await fetched(rig, path, **BROWSER))[0] == 401, path

    talk(tmp_path, conversation)


def test_nothing_beside_the_files_is_served(tmp_path: Path) -> None:
    """Whoever asks in whatever spelling gets a file of the archive, or none."""

    async def conversation(rig: Rig) -> None:
        (tmp_path / "beside.txt").write_text("not for you")
        for path in (
            "../status", "..%2fstatus",
            "../beside.txt", "..%2fbeside.txt", "%2e%2e/beside.txt", "..%5cbeside.txt", "%2e%2e%2fbeside.txt",
            "beside.txt", "/etc/passwd", "%2fetc%2fpasswd", "assets/../../beside.txt", "assets", "assets/",
            "index.html%00", "index.html/", "assets//a.js", "./index.html", "a.js", "*", "%",
            f"../../../../../../../..{tmp_path}/beside.txt",
        ):  # fmt: skip
            status, headers, body = await fetched(rig, f"/ui/{path}")
            assert status in (400, 401, 404), f"{path}: {status}"
            assert b"not for you" not in body
            assert "Content-Encoding" not in headers

    talk(tmp_path, conversation)


def test_page_has_our_script_first_and_may_run_no_other(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        _, headers, page = await fetched(rig, "/ui/")
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert page == PAGE.replace(b"<script", b'<script src="./tunproxy.js"></script><script', 1)
        assert (await fetched(rig, "/ui/index.html"))[2] == page
        policy = headers["Content-Security-Policy"]
        assert f"script-src 'self' '{inline_scripts(PAGE)[0]}';" in policy
        assert inline_scripts(page) == inline_scripts(PAGE)
        _, headers, script = await fetched(rig, "/ui/tunproxy.js")
        assert headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert b"'auto-ip-check': false" in script

    talk(tmp_path, conversation)


def test_every_answer_says_what_may_be_done_with_it(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for path in ("/ui/", "/ui/assets/a.js", "/ui/stored.txt"):
            _, headers, _ = await fetched(rig, path)
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            policy = headers["Content-Security-Policy"]
            for part in (
                "default-src 'none'",
                "frame-ancestors 'none'",
                "worker-src 'none'",
                "base-uri 'none'",
            ):
                assert part in policy
            assert f"connect-src 'self' http://127.0.0.1:{rig.port} http://localhost:{rig.port} ws:" in policy
            assert "Access-Control-Allow-Origin" not in headers

    talk(tmp_path, conversation)


def test_files_are_kept_by_browsers_as_long_as_they_are_the_same(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        tags = {}
        for path, kept in (
            ("/ui/", "no-cache"),
            ("/ui/tunproxy.js", "no-cache"),
            ("/ui/stored.txt", "no-cache"),
            ("/ui/assets/a.js", "private, max-age=31536000, immutable"),
        ):
            _, headers, content = await fetched(rig, path)
            assert headers["Cache-Control"] == kept
            tags[path] = headers["ETag"]
            for known in (tags[path], f'"x", {tags[path]}', f"W/{tags[path]}"):
                status, again, body = await fetched(rig, path, If_None_Match=known)
                assert (status, body, again["ETag"]) == (304, b"", tags[path])
            assert (await fetched(rig, path, If_None_Match='"other"'))[2] == content
        assert len(set(tags.values())) == 4

    talk(tmp_path, conversation)


def test_files_are_sent_packed_to_who_takes_them_so(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for offered in ("gzip", "deflate, gzip;q=0.8, br", "GZIP"):
            _, headers, body = await fetched(rig, "/ui/assets/a.js", Accept_Encoding=offered)
            assert headers["Content-Encoding"] == "gzip", offered
            assert headers["Content-Type"] == "text/javascript; charset=utf-8"
            assert gzip.decompress(body) == SCRIPT
            assert "Accept-Encoding" in headers["Vary"]
            assert "Origin" in headers["Vary"]
        for offered in ("", "br", "identity", "gzip;q=0", "xgzip"):
            _, headers, body = await fetched(rig, "/ui/assets/a.js", Accept_Encoding=offered)
            assert "Content-Encoding" not in headers, offered
            assert body == SCRIPT
        for path, content in (("/ui/stored.txt", b"as it is"), ("/ui/", PAGE)):
            _, headers, body = await fetched(rig, path, Accept_Encoding="gzip")
            assert "Content-Encoding" not in headers
            assert content[-20:] in body

    talk(tmp_path, conversation)


def test_files_are_read_once_and_only_when_somebody_asks(tmp_path: Path, loads: list[DashboardFiles]) -> None:
    async def conversation(rig: Rig) -> None:
        await rig.get("/version")
        assert loads == []
        for _ in range(3):
            await fetched(rig, "/ui/")
        assert len(loads) == 1

    talk(tmp_path, conversation)


def test_without_a_dashboard_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> DashboardFiles:
        raise NoDashboardError("no dashboard is installed (pip install it)")

    async def conversation(rig: Rig) -> None:
        monkeypatch.setattr(dashboard, "load_installed", load)
        for path in ("/ui/", "/ui/assets/a.js"):
            status, headers, body = await fetched(rig, path, **BROWSER)
            assert (status, headers["Content-Type"]) == (404, "application/json")
            assert body == b'{"message":"no dashboard is installed (pip install it)"}'
        async with rig.local.get("/dashboard") as answer:
            assert await answer.json() == {"error": "no dashboard is installed (pip install it)"}
        assert (await rig.get("/version"))["meta"] is True

    talk(tmp_path, conversation)


def test_address_with_the_secret_is_told_at_the_control_socket_only(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        async with rig.local.get("/dashboard") as answer:
            url = urlsplit((await answer.json())["url"])
        assert (url.scheme, url.netloc, url.path, url.query) == ("http", f"127.0.0.1:{rig.port}", "/ui/", "")
        route, _, query = url.fragment.partition("?")
        assert route == "/setup"
        known = {key: values[0] for key, values in parse_qs(query, strict_parsing=True).items()}
        assert known == {
            "hostname": "127.0.0.1",
            "port": str(rig.port),
            "secret": SECRET,
            "label": "tun7",
            "disableUpgradeCore": "1",
            "disableTunMode": "1",
        }
        assert "+" not in query
        await rig.get("/dashboard", 404)

    talk(tmp_path, conversation)


def test_address_of_ipv6_is_written_as_urls_have_it() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
        url = address_of(Listening(listener, Access(Secret("a&b#c")), ""), "tun 0")
    assert url.startswith(
        f"http://[::1]:{port}/ui/#/setup?hostname=%5B%3A%3A1%5D&port={port}&secret=a%26b%23c&"
    )
    assert "&label=tun%200&" in url


def test_policy_names_the_loopback_by_all_its_names() -> None:
    def connects(host: str) -> str:
        (found,) = (part for part in policy_of(host, []).split("; ") if part.startswith("connect-src"))
        return found

    assert connects("localhost:7") == (
        "connect-src 'self' http://127.0.0.1:7 http://localhost:7 ws://127.0.0.1:7 ws://localhost:7"
    )
    assert "http://localhost:80 " in connects("127.0.0.1")
    assert "http://localhost:9" in connects("[::1]:9")
    for host in ("box.lan:9090", "", "127.0.0.1:x", "127.0.0.1:0", "[", "127.0.0.1:99999"):
        assert connects(host) == "connect-src 'self'"
    assert ";" not in connects("127.0.0.1:9;script-src *")


def test_page_of_an_allowed_host_may_ask_it(tmp_path: Path) -> None:
    """A browser sends Origin with what changes something, also where page and API have one name."""

    async def conversation(rig: Rig) -> None:
        bearer = {"Authorization": f"Bearer {SECRET}", "Host": "box.lan:9090"}
        for origin, status in (
            ("http://box.lan:9090", 204),
            ("https://BOX.lan:9090", 204),
            ("http://box.lan", 403),
            ("http://box.lan:9090.evil.example", 403),
            ("box.lan:9090", 403),
            ("ftp://box.lan:9090", 403),
        ):
            found = await fetched(rig, "/proxies/Auto", "DELETE", Origin=origin, **bearer)
            assert found[0] == status, origin
        other = {**bearer, "Host": "evil.example"}
        assert (await fetched(rig, "/proxies/Auto", "DELETE", Origin="http://evil.example", **other))[
            0
        ] == 403

    talk(tmp_path, conversation, hosts=("box.lan",))


def test_without_a_tcp_port_it_is_said_how_to_have_one(tmp_path: Path) -> None:
    async def ask() -> Any:
        app = web.Application()
        Dashboard("tun7", None).add_to(app.router)
        runner = web.AppRunner(app)
        await runner.setup()
        path = str(tmp_path / "c.sock")
        try:
            await web.UnixSite(runner, path).start()
            async with (
                ClientSession("http://localhost", connector=UnixConnector(path)) as client,
                client.get("/dashboard") as answer,
            ):
                return await answer.json()
        finally:
            await runner.cleanup()

    words = 'there is no TCP port for browsers (write listen = "127.0.0.1:9090" in [api], and start it again)'
    assert asyncio.run(ask()) == {"error": words}
